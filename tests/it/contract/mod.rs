mod auto_traits;
mod config;
mod http_service;
mod real_socket;
mod runtimes;
mod service_contract;
mod signatures;
mod tower_parity;
