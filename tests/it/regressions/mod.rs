mod found;
mod hunt;
mod simulator;
