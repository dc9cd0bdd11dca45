//! The thread that has the connection.

use std::{sync::Arc, time::Duration};

use redis::{
    Client, ConnectionInfo, IntoConnectionInfo, ProtocolVersion, PushInfo, PushKind, Script, Value,
    aio::{ConnectionManager, ConnectionManagerConfig, SendError},
    io::tcp::TcpSettings,
};
use tokio::{
    runtime,
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::timeout,
};

use crate::{
    decide::SCRIPT,
    protocol::News,
    store::{Message, StoreError, lock},
};

use super::{Fleets, errors::explain};

/// How long an answer may take. It may have been decided all the same: the call is repeated as it is.
const TIME_OUT: Duration = Duration::from_millis(250);
/// How long a call waits while the connection is made anew.
const CONNECTING: Duration = Duration::from_secs(1);

pub(super) enum Job {
    Call(Call),
    Listen(Vec<String>),
    Leave,
}

pub(super) struct Call {
    pub(super) key: String,
    pub(super) ask: String,
    pub(super) timing: String,
    pub(super) prefix: String,
    pub(super) reply: oneshot::Sender<Result<String, StoreError>>,
}

pub(super) fn client(url: &str) -> Result<Client, StoreError> {
    let info: ConnectionInfo = url
        .into_connection_info()
        .map_err(|error| explain(&error))?;
    let settings = info
        .redis_settings()
        .clone()
        .set_protocol(ProtocolVersion::RESP3);
    let tcp = TcpSettings::default().set_nodelay(true);
    let info = info.set_redis_settings(settings).set_tcp_settings(tcp);
    Client::open(info).map_err(|error| explain(&error))
}

/// Runs until told to leave, or until nobody can tell it anything any more.
pub(super) fn run(
    client: &Client,
    fleets: &Fleets,
    mut inbox: mpsc::UnboundedReceiver<Job>,
    ready: oneshot::Sender<Result<(), StoreError>>,
) {
    let runtime = match runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            _ = ready.send(Err(StoreError::away(format!(
                "no runtime for the connection: {error}"
            ))));
            return;
        }
    };
    runtime.block_on(async {
        let manager = match connect(client, Arc::clone(fleets)).await {
            Ok(manager) => manager,
            Err(error) => {
                _ = ready.send(Err(error));
                return;
            }
        };
        _ = ready.send(Ok(()));
        let script = Arc::new(Script::new(SCRIPT));
        let mut calls = JoinSet::new();
        while let Some(job) = inbox.recv().await {
            let mut manager = manager.clone();
            match job {
                Job::Call(call) => {
                    let script = Arc::clone(&script);
                    // Those that have ended.
                    while calls.try_join_next().is_some() {}
                    calls.spawn(async move {
                        let answer = invoke(&script, &call, &mut manager).await;
                        _ = call.reply.send(answer);
                    });
                }
                // Later connections subscribe by themselves, and tell of it.
                Job::Listen(channels) => {
                    tokio::spawn(async move {
                        for channel in channels {
                            while manager
                                .subscribe(&channel)
                                .await
                                .is_err_and(|error| explain(&error).is_away())
                            {
                                tokio::time::sleep(TIME_OUT).await;
                            }
                        }
                    });
                }
                Job::Leave => break,
            }
        }
        // The last words of members that have ended.
        while calls.join_next().await.is_some() {}
    });
}

async fn connect(client: &Client, fleets: Fleets) -> Result<ConnectionManager, StoreError> {
    let config = ConnectionManagerConfig::new()
        .set_response_timeout(Some(TIME_OUT))
        .set_connection_timeout(Some(CONNECTING))
        .set_number_of_retries(2)
        .set_min_delay(Duration::from_millis(20))
        .set_max_delay(Duration::from_millis(200))
        .set_push_sender(move |push: PushInfo| -> Result<(), SendError> {
            hear(&fleets, &push);
            Ok(())
        })
        .set_automatic_resubscription();
    let mut manager = ConnectionManager::new_with_config(client.clone(), config)
        .await
        .map_err(|error| explain(&error))?;
    let info: String = redis::cmd("INFO")
        .query_async(&mut manager)
        .await
        .map_err(|error| explain(&error))?;
    check(&info)?;
    // Loads and runs a script, as each ask does.
    let time: Result<i64, _> = Script::new("return tonumber(redis.call('TIME')[1])")
        .invoke_async(&mut manager)
        .await;
    time.map_err(|error| explain(&error))?;
    Ok(manager)
}

/// Whether the server will do.
fn check(info: &str) -> Result<(), StoreError> {
    let field = |name: &str| {
        info.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim))
    };
    let version = field("redis_version").unwrap_or("unknown");
    let mut parts = version
        .split('.')
        .map(|part| part.parse::<u32>().unwrap_or(0));
    if (parts.next(), parts.next()) < (Some(6), Some(2)) {
        return Err(StoreError::refused(format!(
            "the server's version is {version}: expected 6.2 or later"
        )));
    }
    let policy = field("maxmemory_policy").unwrap_or("noeviction");
    if policy != "noeviction" && field("maxmemory") != Some("0") {
        return Err(StoreError::refused(format!(
            "the server's maxmemory-policy is {policy}: it may drop what the fleet must remember; expected noeviction"
        )));
    }
    Ok(())
}

async fn invoke(
    script: &Script,
    call: &Call,
    manager: &mut ConnectionManager,
) -> Result<String, StoreError> {
    let mut invocation = script.key(&call.key);
    invocation
        .arg(&call.ask)
        .arg(&call.timing)
        .arg(&call.prefix);
    match timeout(CONNECTING, invocation.invoke_async(manager)).await {
        Ok(answer) => answer.map_err(|error| explain(&error)),
        Err(_) => Err(StoreError::away(format!(
            "no connection within {CONNECTING:?}"
        ))),
    }
}

/// Puts a message into the mailboxes that it is for.
fn hear(fleets: &Fleets, push: &PushInfo) {
    let fleets = lock(fleets);
    match (&push.kind, push.data.as_slice()) {
        (PushKind::Message, [channel, payload]) => {
            let (Some(channel), Some(payload)) = (text(channel), text(payload)) else {
                return;
            };
            for (prefix, mailboxes) in fleets.iter() {
                match channel.strip_prefix(prefix.as_str()) {
                    Some("all") => {
                        if let Ok(news) = serde_json::from_str::<News>(payload) {
                            mailboxes.post_all(&Message::News(news));
                        }
                    }
                    Some(member) => mailboxes.post(member, Message::Ask),
                    None => {}
                }
            }
        }
        (PushKind::Disconnection | PushKind::Subscribe, _) => {
            for (_, mailboxes) in fleets.iter() {
                mailboxes.post_all(&Message::Lost);
            }
        }
        _ => {}
    }
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}
