mod contributing;
mod guides;
