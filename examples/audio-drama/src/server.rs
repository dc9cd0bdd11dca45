//! The service on its sockets, with mocks where no provider was given.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use axum::serve::ListenerExt;
use tokio::{net::TcpListener, sync::watch};
use tower_throttle::mock;

use crate::{
    config::Config,
    http_client::{NoTls, http_client},
    limits::Limits,
    mocks::{Mocks, Served},
    routes::router,
    speech::{ElevenLabs, Narrator, Speech},
    studio::Studio,
};

/// The service, ready to answer.
#[derive(Debug)]
pub struct Server {
    listeners: Vec<TcpListener>,
    studio: Arc<Studio>,
    // Served for as long as this lives.
    mocks: Vec<Served>,
}

/// Why the service could not start.
#[derive(Debug)]
pub enum NoStart {
    /// There is nowhere to listen.
    Listen(SocketAddr, io::Error),
    /// There is no mock.
    Mock(io::Error),
    /// There is no TLS.
    Tls(NoTls),
}

impl Server {
    /// Listens, starts those of the mocks that are needed, and asks the API for the plan.
    ///
    /// # Errors
    ///
    /// If the port is taken, or if a provider can only be reached by TLS and there is none.
    pub async fn start(config: Config, mocks: Mocks) -> Result<Self, NoStart> {
        let listeners = listen(config.host, config.port)?;
        let mut served = Vec::new();
        let elevenlabs = if let Some(elevenlabs) = config.elevenlabs {
            elevenlabs
        } else {
            let mock = Served::start(|socket| mocks.elevenlabs.clone().serve(socket));
            served.push(mock.map_err(NoStart::Mock)?);
            ElevenLabs::mock(served[served.len() - 1].base().clone())
        };
        let narrator = if let Some(narrator) = config.narrator {
            narrator
        } else {
            let mock = Served::start(|socket| mocks.narrator.clone().serve(socket));
            served.push(mock.map_err(NoStart::Mock)?);
            Narrator::mock(served[served.len() - 1].base().clone())
        };
        tracing::info!(
            "dialogue: {} ({}), at most {} at once; narration: {}",
            elevenlabs.base,
            elevenlabs.model,
            config.setting,
            narrator.base
        );
        let tls = elevenlabs.base.is_https() || narrator.base.is_https();
        let client = http_client(tls).map_err(NoStart::Tls)?;
        let limits = Limits::new(config.setting);
        let speech = Speech::new(elevenlabs, client.clone(), narrator, client, limits);
        let studio = Arc::new(Studio::new(speech, config.batch));
        studio.check_plan(config.plan).await;
        Ok(Self {
            listeners,
            studio,
            mocks: served,
        })
    }

    /// Where it listens: the first is the one to tell people.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        let addresses = self.listeners.iter().map(TcpListener::local_addr);
        addresses.map(|address| address.expect("a socket that listens has an address"))
    }

    /// Serves until `stop` is done and all that was asked before has been answered.
    ///
    /// Dropping the future ends everything at once.
    ///
    /// # Errors
    ///
    /// If there is nothing to listen on any more.
    pub async fn run(self, stop: impl Future<Output = ()>) -> io::Result<()> {
        let (stopped, stopping) = watch::channel(false);
        let servers = self.listeners.into_iter().map(|listener| {
            let mut stopping = stopping.clone();
            let listener = listener.tap_io(|stream| {
                // Without it an answer of several writes can wait for an acknowledgement. Where it
                // cannot be set, nothing is wrong.
                let _ = stream.set_nodelay(true);
            });
            let server = axum::serve(listener, router(Arc::clone(&self.studio)));
            server
                .with_graceful_shutdown(async move {
                    // It also ends when the sender is gone.
                    let _ = stopping.wait_for(|stop| *stop).await;
                })
                .into_future()
        });
        let stop = async {
            stop.await;
            stopped.send_replace(true);
            Ok(())
        };
        let servers = futures_util::future::try_join_all(servers);
        futures_util::future::try_join(servers, stop).await?;
        drop(self.mocks);
        Ok(())
    }
}

/// Clients that are told `localhost` may try `::1` first, and not all of them go on to 127.0.0.1 if nobody
/// is there; or somebody else may be. So if nobody says otherwise it is both, where the machine has both.
fn listen(host: Option<IpAddr>, port: u16) -> Result<Vec<TcpListener>, NoStart> {
    let bind = |host: IpAddr, port| {
        let address = SocketAddr::new(host, port);
        mock::bind_to(address).map_err(|error| NoStart::Listen(address, error))
    };
    let first = bind(host.unwrap_or(Ipv4Addr::LOCALHOST.into()), port)?;
    let port = match first.local_addr() {
        Ok(address) => address.port(),
        Err(error) => return Err(NoStart::Mock(error)),
    };
    let mut listeners = vec![first];
    if host.is_none() {
        match bind(Ipv6Addr::LOCALHOST.into(), port) {
            Ok(listener) => listeners.push(listener),
            Err(NoStart::Listen(address, error)) if error.kind() == io::ErrorKind::AddrInUse => {
                return Err(NoStart::Listen(address, error));
            }
            Err(_) => tracing::debug!("no IPv6 here"),
        }
    }
    Ok(listeners)
}

impl fmt::Display for NoStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen(address, error) => write!(f, "cannot listen on {address}: {error}"),
            Self::Mock(error) => write!(f, "cannot start a mock: {error}"),
            Self::Tls(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for NoStart {}
