mod decisions;
mod of_requests;
mod operating;
mod retry;
mod spans;
