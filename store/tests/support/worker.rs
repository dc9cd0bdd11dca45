//! A member with an endless backlog, in real time.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::time::{Instant, sleep, sleep_until};
use tower_throttle_store::{
    Asking, Message, RedisStore, Store,
    member::{Member, Slot},
    protocol::{Ask, Head, Leaf, Micros, News, REQUESTS, Scope, Window},
};

/// Dispatches, of all workers.
pub type Stamps = Arc<Mutex<Vec<Instant>>>;

pub fn scope(n: i64, period: Duration) -> Scope {
    let window = Window {
        unit: REQUESTS.to_owned(),
        n,
        period: i64::try_from(period.as_micros()).unwrap(),
        ..Window::default()
    };
    Scope {
        name: "all".to_owned(),
        windows: vec![window],
        ..Scope::default()
    }
}

/// Sends as much as it may until `end`. What decides that a slot is open is also the stamp.
pub async fn work(store: RedisStore, scope: Scope, end: Instant, stamps: Stamps) {
    let start = Instant::now();
    let micros = |at: Instant| Micros::try_from((at - start).as_micros()).unwrap();
    let mut member = Member::new(
        Member::random_id(),
        vec![REQUESTS.to_owned()],
        store.timing(),
    );
    let mut mailbox = store.listen(member.id());
    let mut slots: Vec<Slot> = Vec::new();
    let (mut again, mut ids): (Micros, i64) = (0, 0);
    let mut call: Option<Asking<'static>> = None;
    while Instant::now() < end {
        let now = micros(Instant::now());
        for slot in std::mem::take(&mut slots) {
            if now < slot.opens {
                slots.push(slot);
            } else if now <= slot.closes {
                stamps
                    .lock()
                    .unwrap()
                    .push(start + Duration::from_micros(now.unsigned_abs()));
                member.dispatched(&slot, now);
                member.ended(slot.id, None, now);
            } else {
                member.give_back(&slot, false);
            }
        }
        if call.is_none() && (again <= now || member.has_news()) {
            let heads: Vec<_> = (0..8)
                .map(|next| Head {
                    id: ids + next,
                    ..Head::default()
                })
                .collect();
            ids += 8;
            let leaf = Leaf {
                leaf: 1,
                scopes: vec![0],
                ages: vec![1000; 8],
                heads,
                waiting: 8,
                ..Leaf::default()
            };
            let ask = member.ask(now, vec![scope.clone()], vec![leaf]).clone();
            call = Some(send(&store, ask));
        }
        let next = slots
            .iter()
            .map(|slot| slot.opens)
            .chain([again.max(now + 1_000), now + 100_000])
            .min();
        let wake = start + Duration::from_micros(next.unwrap().unsigned_abs());
        tokio::select! {
            answer = async { call.as_mut().unwrap().await }, if call.is_some() => {
                call = None;
                let now = micros(Instant::now());
                let heard = member.hear(now, &answer.unwrap());
                if heard.void {
                    for slot in std::mem::take(&mut slots) {
                        member.give_back(&slot, true);
                    }
                }
                slots.extend(heard.slots);
                again = now + heard.leaves.first().and_then(|(_, leaf)| leaf.again).unwrap_or(0);
            }
            message = mailbox.next() => {
                let void = matches!(&message, Message::News(News::Epoch(epoch)) if member.begins(epoch));
                if void {
                    for slot in std::mem::take(&mut slots) {
                        member.give_back(&slot, true);
                    }
                }
                again = 0;
            }
            () = sleep_until(wake) => {}
        }
    }
}

/// The same ask until it is answered.
fn send(store: &RedisStore, ask: Ask) -> Asking<'static> {
    let store = store.clone();
    Box::pin(async move {
        loop {
            match store.ask(&ask).await {
                Err(error) if error.is_away() => sleep(Duration::from_millis(50)).await,
                answer => return answer,
            }
        }
    })
}

/// The most dispatches in any period.
pub fn worst(stamps: &[Instant], period: Duration) -> usize {
    let within = |end: &Instant| {
        stamps
            .iter()
            .filter(|at| **at <= *end && *end - **at < period)
            .count()
    };
    stamps.iter().map(within).max().unwrap_or(0)
}
