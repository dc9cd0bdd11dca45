//! A `redis-server` of the test's own, on a socket in a temporary folder. It ends with the test.

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;

#[derive(Debug)]
pub struct Server {
    child: Child,
    dir: TempDir,
    extra: Vec<String>,
}

impl Server {
    /// `None`, and a word on standard error, where there is no `redis-server`; with `CI=true` that is a failure.
    pub fn start(extra: &[&str]) -> Option<Self> {
        let found = Command::new("redis-server")
            .arg("--version")
            .stdout(Stdio::null())
            .status();
        if !found.is_ok_and(|status| status.success()) {
            assert!(
                std::env::var("CI").as_deref() != Ok("true"),
                "no redis-server: apt-get install redis-server"
            );
            eprintln!("skipped: there is no redis-server (apt-get install redis-server)");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let extra: Vec<_> = extra.iter().map(ToString::to_string).collect();
        let child = spawn(&dir, &extra);
        let server = Self { child, dir, extra };
        server.wait_until_it_answers();
        Some(server)
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("redis.sock")
    }

    pub fn url(&self) -> String {
        format!("redis+unix://{}", self.socket().display())
    }

    pub fn connection(&self) -> redis::Connection {
        redis::Client::open(self.url())
            .unwrap()
            .get_connection()
            .unwrap()
    }

    fn wait_until_it_answers(&self) {
        for _ in 0..500 {
            let client = redis::Client::open(self.url()).unwrap();
            let ping = client
                .get_connection_with_timeout(Duration::from_secs(1))
                .and_then(|mut connection| redis::cmd("PING").query::<String>(&mut connection));
            if ping.is_ok() || ping.is_err_and(|error| error.code() == Some("NOAUTH")) {
                return;
            }
            pause(20);
        }
        panic!("redis-server does not answer");
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args([name, &id])
                .status()
                .unwrap()
                .success()
        );
    }

    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again; it reads what `SAVE` left.
    pub fn restart(&mut self) {
        self.child = spawn(&self.dir, &self.extra);
        self.wait_until_it_answers();
    }

    /// Removes what `SAVE` left.
    pub fn remove_dump(&self) {
        _ = std::fs::remove_file(self.dir.path().join("dump.rdb"));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

#[allow(clippy::disallowed_methods)] // no runtime here
fn pause(millis: u64) {
    std::thread::sleep(Duration::from_millis(millis));
}

fn spawn(dir: &TempDir, extra: &[String]) -> Child {
    Command::new("redis-server")
        .args([
            "--port",
            "0",
            "--save",
            "",
            "--appendonly",
            "no",
            "--loglevel",
            "warning",
        ])
        .args(["--unixsocket", "redis.sock"])
        .args(extra)
        .current_dir(dir.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}
