mod adversary;
mod fifo;
mod laws;
