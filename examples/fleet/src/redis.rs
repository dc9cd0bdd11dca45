//! A `redis-server` of this program's own.

use std::{io, process::Stdio, time::Duration};

use tempfile::TempDir;
use tokio::process::{Child, Command};
use tower_throttle::{BoxError, store::RedisStore};

#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    dir: TempDir,
}

impl Server {
    pub(crate) async fn start() -> Result<Self, BoxError> {
        let dir = tempfile::tempdir()?;
        let child = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "no"])
            .args(["--unixsocket", "redis.sock"])
            .current_dir(dir.path())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => {
                    "there is no redis-server here: on Debian, `apt-get install redis-server`"
                        .into()
                }
                _ => BoxError::from(error),
            })?;
        let server = Self { child, dir };
        let mut tries = 0;
        while let Err(error) = RedisStore::connect(&server.url()).await {
            tries += 1;
            if tries > 100 {
                return Err(error.into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(server)
    }

    pub(crate) fn url(&self) -> String {
        format!("redis+unix://{}", self.socket())
    }

    fn socket(&self) -> String {
        self.dir.path().join("redis.sock").display().to_string()
    }

    /// Stops the process, or has it go on.
    pub(crate) async fn signal(&self, name: &str) -> Result<(), BoxError> {
        let id = self.child.id().ok_or("redis-server has ended")?;
        run(Command::new("kill").args([name, &id.to_string()])).await
    }

    /// It forgets everything.
    pub(crate) async fn flush(&self) -> Result<(), BoxError> {
        run(Command::new("redis-cli").args(["-s", &self.socket(), "FLUSHALL"])).await
    }
}

async fn run(command: &mut Command) -> Result<(), BoxError> {
    let status = command.stdout(Stdio::null()).status().await?;
    if !status.success() {
        return Err(format!("{command:?}: {status}").into());
    }
    Ok(())
}
