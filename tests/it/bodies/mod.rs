mod duplex;
mod permits;
