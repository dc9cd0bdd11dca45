//! The file is read again when it changes, and when that is asked for.

use std::{path::Path, time::Duration};

use tokio::time::{MissedTickBehavior, interval};

use super::{gateway::Gateway, settings};

/// How often the file is looked at. By its time of change and its length, which works on every file system.
const EVERY: Duration = Duration::from_millis(500);

/// Reads the file again whenever it changes, and whenever `asked` is done. Never ends. Without a file nobody is asked.
pub(crate) async fn follow(gateway: Gateway, mut asked: impl AsyncFnMut()) {
    let Some(file) = gateway.options().file().cloned() else {
        return std::future::pending().await;
    };
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen = gateway.options().stamp();
    loop {
        let is_asked = tokio::select! {
            () = asked() => true,
            _ = ticks.tick() => false,
        };
        let now = settings::stamp(&file);
        // A file that is being replaced may be away for a moment.
        if is_asked || (now.is_some() && now != seen) {
            seen = now;
            again(&gateway, &file);
        }
    }
}

/// Takes over what the file says now. What is wrong with it is said, and changes nothing.
pub(crate) fn again(gateway: &Gateway, file: &Path) {
    let said = match take_over(gateway) {
        Ok(fixed) if fixed.is_empty() => format!("{}: the limits were read again", file.display()),
        Ok(fixed) => format!(
            "{}: the limits were read again; these take effect at the next start: {}",
            file.display(),
            fixed.join(", ")
        ),
        Err(error) => format!("{error}\ngateway: the limits stay as they were"),
    };
    eprintln!("gateway: {said}");
}

/// The settings that differ, and are not taken over.
fn take_over(gateway: &Gateway) -> Result<Vec<String>, String> {
    let options = gateway.options();
    let taken = options.again().and_then(|new| {
        gateway.reload(&new).map_err(|error| error.to_string())?;
        Ok(options.fixed_that_differ(&new))
    });
    gateway.meters().reloaded(taken.is_ok());
    taken
}
