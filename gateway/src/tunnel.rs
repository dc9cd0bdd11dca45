//! Connections that have become something else: websockets.

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::{io::copy_bidirectional, sync::watch, try_join};

/// Those that are open.
#[derive(Clone, Debug)]
pub(crate) struct Tunnels {
    /// Each has a receiver.
    open: watch::Sender<()>,
}

impl Tunnels {
    pub(crate) fn new() -> Self {
        let (open, _) = watch::channel(());
        Self { open }
    }

    /// Passes on whatever comes, both ways, until one side has gone.
    pub(crate) fn join(&self, caller: OnUpgrade, upstream: OnUpgrade) {
        let mut ended = self.open.subscribe();
        tokio::spawn(async move {
            let tunnel = async {
                // Fails where a side goes away before it has switched: then there is no tunnel.
                if let Ok((caller, upstream)) = try_join!(caller, upstream) {
                    pass(caller, upstream).await;
                }
            };
            tokio::select! {
                () = tunnel => {}
                _ = ended.changed() => {}
            }
        });
    }

    pub(crate) fn count(&self) -> usize {
        self.open.receiver_count()
    }

    /// Cuts them.
    pub(crate) fn cut(&self) {
        self.open.send_replace(());
    }

    /// Until there is none.
    pub(crate) async fn closed(&self) {
        self.open.closed().await;
    }
}

async fn pass(caller: Upgraded, upstream: Upgraded) {
    let (mut caller, mut upstream) = (TokioIo::new(caller), TokioIo::new(upstream));
    // An end in the middle is what the other side gets to see, too: there is nobody else to tell.
    let _ = copy_bidirectional(&mut caller, &mut upstream).await;
}
