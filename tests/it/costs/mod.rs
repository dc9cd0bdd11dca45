mod charges;
mod edges;
mod laws;
mod tokens;
