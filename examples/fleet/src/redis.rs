//! A `redis-server` of this program's own.

use std::{io, process::Stdio, time::Duration};

use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    time::sleep,
};
use tower_throttle::{BoxError, store::RedisStore};

#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    dir: TempDir,
}

impl Server {
    pub(crate) async fn start() -> Result<Self, BoxError> {
        let dir = tempfile::tempdir()?;
        let child = serve(&dir)?;
        let server = Self { child, dir };
        server.is_up().await?;
        Ok(server)
    }

    /// Kills it and starts another at the same place, `after` a time. That one knows nothing.
    pub(crate) async fn restart(&mut self, after: Duration) -> Result<(), BoxError> {
        self.child.kill().await?;
        sleep(after).await;
        self.child = serve(&self.dir)?;
        self.is_up().await
    }

    async fn is_up(&self) -> Result<(), BoxError> {
        let mut tries = 0;
        while let Err(error) = RedisStore::connect(&self.url()).await {
            tries += 1;
            if tries > 100 {
                return Err(error.into());
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    pub(crate) fn url(&self) -> String {
        format!("redis+unix://{}", self.socket())
    }

    fn socket(&self) -> String {
        self.dir.path().join("redis.sock").display().to_string()
    }

    /// Stops the process, or has it go on.
    pub(crate) async fn signal(&self, name: &str) -> Result<(), BoxError> {
        signal(&self.child, name).await
    }

    /// What it says to a command.
    pub(crate) async fn tell(&self, command: &[&str]) -> Result<String, BoxError> {
        let mut client = Command::new("redis-cli");
        client.args(["-s", &self.socket()]).args(command);
        let output = client.output().await?;
        if !output.status.success() {
            return Err(format!("{command:?}: {}", output.status).into());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// How many calls of the store's script there were, and for how many microseconds it ran.
    pub(crate) async fn calls(&self) -> Result<(u64, u64), BoxError> {
        let said = self.tell(&["INFO", "commandstats"]).await?;
        Ok(calls(&said))
    }
}

fn calls(said: &str) -> (u64, u64) {
    let mut sums = (0, 0);
    for command in ["cmdstat_evalsha:", "cmdstat_eval:"] {
        let line = said.lines().find_map(|line| line.strip_prefix(command));
        for field in line.into_iter().flat_map(|line| line.trim().split(',')) {
            let number = |value: &str| value.parse::<u64>().unwrap_or(0);
            match field.split_once('=') {
                Some(("calls", n)) => sums.0 += number(n),
                Some(("usec", n)) => sums.1 += number(n),
                _ => {}
            }
        }
    }
    sums
}

fn serve(dir: &TempDir) -> Result<Child, BoxError> {
    let mut command = Command::new("redis-server");
    command
        .args(["--port", "0", "--save", "", "--appendonly", "no"])
        .args(["--unixsocket", "redis.sock"])
        .current_dir(dir.path())
        .stdout(Stdio::null())
        .kill_on_drop(true);
    command.spawn().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            "there is no redis-server here: on Debian, `apt-get install redis-server`".into()
        }
        _ => BoxError::from(error),
    })
}

/// Sends a signal to a process, by its name.
pub(crate) async fn signal(child: &Child, name: &str) -> Result<(), BoxError> {
    let id = child.id().ok_or("the process has ended")?;
    let mut kill = Command::new("kill");
    let status = kill.args([name, &id.to_string()]).status().await?;
    if !status.success() {
        return Err(format!("kill {name} {id}: {status}").into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn calls_of_scripts_are_found() {
        let said = "# Commandstats\r\ncmdstat_info:calls=9,usec=9\r\n\
                    cmdstat_evalsha:calls=12,usec=345,usec_per_call=28.75\r\ncmdstat_eval:calls=1,usec=5\r\n";
        assert_eq!(super::calls(said), (13, 350));
        assert_eq!(super::calls(""), (0, 0));
    }
}
