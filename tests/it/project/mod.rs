mod contributing;
mod examples;
mod guides;
