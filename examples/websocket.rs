//! Limits for the messages of websockets, and for how many are open at once.
//!
//! A real-time API allows two connections, and five messages per second on all of them together. A connection holds a
//! permit for as long as it is open; a message is admitted before it is sent. The API here is on a real socket of
//! this machine, and counts both.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::{SinkExt, StreamExt, future::try_join_all};
use http::Request;
use tokio::{
    net::{TcpListener, TcpStream},
    time::Instant,
};
use tokio_tungstenite::{accept_async, client_async, tungstenite::Message};
use tower_throttle::{BoxError, Endpoints, Handle, Permit, Quota, Terms, ThrottleLayer};

/// What the API has seen.
#[derive(Default)]
struct Seen {
    open: usize,
    most_open: usize,
    messages: Vec<Instant>,
}

/// Sends each message back.
async fn serve(listener: TcpListener, seen: Arc<Mutex<Seen>>) -> Result<(), BoxError> {
    loop {
        let (stream, _) = listener.accept().await?;
        let seen = Arc::clone(&seen);
        tokio::spawn(async move {
            {
                let mut seen = seen.lock().unwrap();
                seen.open += 1;
                seen.most_open = seen.most_open.max(seen.open);
            }
            let mut socket = accept_async(stream).await?;
            while let Some(message) = socket.next().await {
                let message = message?;
                if message.is_text() {
                    seen.lock().unwrap().messages.push(Instant::now());
                    socket.send(message).await?;
                } else if message.is_close() {
                    // Before the client hears that it is closed.
                    seen.lock().unwrap().open -= 1;
                }
            }
            Ok::<_, BoxError>(())
        });
    }
}

/// Waits until the limits of `name` have room. There is no request: the name alone chooses the limits.
async fn begin(handle: &Handle, name: &str) -> Result<Permit, BoxError> {
    let terms = Terms::new().endpoint(name);
    let head = Request::builder().extension(terms).body(())?;
    handle.admit(&head).await?.dispatched().await
}

/// A conversation on a connection of its own.
async fn talk(handle: &Handle, api: &str, who: usize, start: Instant) -> Result<(), BoxError> {
    let open = begin(handle, "connections").await?;
    let stream = TcpStream::connect(api).await?;
    let (mut socket, _) = client_async(format!("ws://{api}/talk"), stream).await?;
    for word in ["hello", "how are you", "goodbye"] {
        // Nothing works on a message any more once it has been sent, so its permit ends then.
        let permit = begin(handle, "messages").await?;
        socket.send(Message::text(word)).await?;
        drop(permit);
        let answer = socket.next().await.ok_or("it was closed")??;
        let time = start.elapsed().as_secs_f64();
        println!("{time:.1} s: {who}: {answer}");
    }
    socket.close(None).await?;
    while socket.next().await.is_some() {}
    // It is closed at the API too, so the next one can be opened.
    drop(open);
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let api = listener.local_addr()?.to_string();
    let seen = Arc::<Mutex<Seen>>::default();
    tokio::spawn(serve(listener, Arc::clone(&seen)));

    // Some messages take longer on their way than others: hence the margin.
    let messages = Quota::per_second(5).margin(Duration::from_millis(250));
    let endpoints = Endpoints::new()
        .named("connections", Quota::concurrent(2))
        .named("messages", messages);
    let handle = ThrottleLayer::new(endpoints).handle();

    let start = Instant::now();
    try_join_all((1..=4).map(|who| talk(&handle, &api, who, start))).await?;

    let seen = seen.lock().unwrap();
    let in_a_second = |at: &Instant| {
        let within = |other: &&Instant| **other >= *at && **other - *at < Duration::from_secs(1);
        seen.messages.iter().filter(within).count()
    };
    let most = seen.messages.iter().map(in_a_second).max().unwrap_or(0);
    let (sent, open) = (seen.messages.len(), seen.most_open);
    println!("\nThe API saw {sent} messages, {most} in a second, and {open} connections at once.");
    assert!(sent == 12 && open <= 2 && most <= 5);
    Ok(())
}
