//! Quotas from a file that is watched: who changes the file changes what goes, and no request is lost by it.
//!
//! A batch of requests goes to an API at five per second, as a file says. While it runs the file is changed twice: to
//! something that is no configuration, which is said and changes nothing; and to twenty per second, which holds at
//! once for those that wait, too. The file is looked at every 100 ms, by its time of change and its length: that needs
//! no dependency, and works on every file system.
//!
//! A reload changes endpoints, quotas, learning, `max_pause` and `max_keys`. It does not change `max_wait`, `max_waiting`
//! and `retry`, which belong to services that have been made: for those the process starts anew.
//!
//! It makes a file in the directory for temporary files, removes it, and ends by itself. In your program it is the path
//! of your configuration that is watched.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process,
    time::{Duration, SystemTime},
};

use http::{Request, Response};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use tower::{Layer, ServiceExt, service_fn};
use tower_throttle::{BoxError, Handle, config::Config};

/// How often the file is looked at.
const EVERY: Duration = Duration::from_millis(100);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let file = Temporary::new("routes.'GET /items/{id}' = '5/s'")?;
    let layer = read(&file.0)?.layer();
    tokio::spawn(watch(file.0.clone(), layer.handle()));
    let client = layer.layer(service_fn(|_: Request<String>| async {
        Ok::<_, BoxError>(Response::new("ok".to_owned()))
    }));

    let start = Instant::now();
    let mut batch = JoinSet::new();
    for id in 0..50 {
        let request = Request::get(format!("/items/{id}")).body(String::new())?;
        batch.spawn(client.clone().oneshot(request));
    }
    // At five per second, the batch would take nine seconds.
    sleep(Duration::from_millis(500)).await;
    fs::write(&file.0, "routes.'GET /items/{id}' = '20/fortnight'")?;
    sleep(Duration::from_secs(1)).await;
    fs::write(&file.0, "routes.'GET /items/{id}' = '20/s'")?;
    let mut answered = 0;
    while let Some(answer) = batch.join_next().await {
        answer??;
        answered += 1;
    }
    let time = start.elapsed();
    println!("{answered} answers in {:.1} s", time.as_secs_f64());
    assert!(answered == 50 && time < Duration::from_secs(8), "{time:?}");
    Ok(())
}

fn read(path: &Path) -> Result<Config, BoxError> {
    Ok(toml::from_str(&fs::read_to_string(path)?)?)
}

/// Gives the layer what the file says, whenever that has changed. What is no configuration changes nothing.
async fn watch(path: PathBuf, handle: Handle) {
    let mut seen = stamp(&path);
    loop {
        sleep(EVERY).await;
        let now = stamp(&path);
        // A file that is being replaced may be away for a moment.
        if now.is_none() || now == seen {
            continue;
        }
        seen = now;
        match read(&path) {
            Ok(config) => match config.reload(&handle) {
                Ok(()) => println!("{} was read again", path.display()),
                Err(closed) => return println!("the layer takes no endpoints any more: {closed}"),
            },
            Err(error) => println!("{} is not used: {error}", path.display()),
        }
    }
}

/// What changes with a file.
fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let of = fs::metadata(path).ok()?;
    Some((of.modified().ok()?, of.len()))
}

/// A file that is removed in the end.
struct Temporary(PathBuf);

impl Temporary {
    fn new(text: &str) -> std::io::Result<Self> {
        let name = format!("tower-throttle-{}.toml", process::id());
        let path = env::temp_dir().join(name);
        fs::write(&path, text)?;
        Ok(Self(path))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        _ = fs::remove_file(&self.0);
    }
}
