mod joint;
mod joint_adversary;
