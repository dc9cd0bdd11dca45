mod by_path;
mod discovery;
mod reload;
mod reload_laws;
mod resolve_once;
mod tenants;
mod tenants_reload;
