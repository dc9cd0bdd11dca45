//! Who goes first, over random schedules: how long the lowest class waits (law L15), and what flows get (law L16), while
//! quotas change, callers leave, futures are not polled, and requests come back as retries.

use std::{
    sync::{Arc, Mutex},
    task::Poll,
    time::Duration,
};

use crate::support::*;
use proptest::{collection::vec, prelude::*};
use tokio::time::Instant;
use tower_throttle::{BoxError, Endpoints, Flow, Handle, Priority, Quota, RpsLayer, Terms};

/// What a caller does besides waiting.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Manner {
    Patient,
    /// It leaves after so many milliseconds.
    Leaves(u64),
    /// It is not polled from its entry until so many milliseconds later.
    Absent(u64),
    /// Its server has refused it once: it comes back as old as it was.
    Retried,
}

fn manner() -> impl Strategy<Value = Manner> {
    prop_oneof![
        12 => Just(Manner::Patient),
        2 => (1_u64..400).prop_map(Manner::Leaves),
        1 => (1_u64..400).prop_map(Manner::Absent),
        1 => Just(Manner::Retried),
    ]
}

/// What becomes of a request each time that it enters a queue.
#[derive(Clone, Copy, Debug)]
struct Life {
    class: usize,
    flow: usize,
    manner: Manner,
    from: u64,
    /// When it was sent, or has left.
    to: u64,
    is_sent: bool,
}

#[derive(Clone)]
struct World {
    handle: Handle,
    start: Instant,
    lives: Arc<Mutex<Vec<Life>>>,
}

const CLASSES: [Priority; 3] = [Priority::HIGH, Priority::NORMAL, Priority::LOW];

impl World {
    fn new(handle: Handle) -> Self {
        Self {
            handle,
            start: Instant::now(),
            lives: Arc::default(),
        }
    }

    fn now(&self) -> u64 {
        whole(self.start.elapsed())
    }

    /// A request of a class and a flow, from its entry to its end. It weighs what its flow does.
    async fn visit(self, class: usize, flow: usize, manner: Manner) -> Result<(), BoxError> {
        let mut head = http::Request::get("/a").body(()).unwrap();
        let weight = u32::try_from(flow).unwrap() + 1;
        let terms = Terms::new()
            .priority(CLASSES[class])
            .flow(Flow::new(flow).weight(weight));
        head.extensions_mut().insert(terms);
        let mut life = Life {
            class,
            flow,
            manner,
            from: self.now(),
            to: 0,
            is_sent: false,
        };
        let wait = async {
            let mut waiting = Box::pin(self.handle.admit(&head));
            let mut permit = match manner {
                Manner::Absent(time) => {
                    let first =
                        std::future::poll_fn(|cx| Poll::Ready(waiting.as_mut().poll(cx))).await;
                    tokio::time::sleep(ms(time)).await;
                    match first {
                        Poll::Ready(admission) => admission?.dispatched().await?,
                        Poll::Pending => waiting.await?.dispatched().await?,
                    }
                }
                _ => waiting.await?.dispatched().await?,
            };
            if manner == Manner::Retried {
                self.note(&mut life, true);
                permit = self.handle.admit_again(permit).await?.dispatched().await?;
            }
            drop(permit);
            Ok::<_, BoxError>(())
        };
        let patience = match manner {
            Manner::Leaves(time) => ms(time),
            _ => Duration::from_secs(86_400),
        };
        let came = tokio::time::timeout(patience, wait).await;
        let is_sent = came.is_ok();
        came.unwrap_or(Ok(()))?;
        self.note(&mut life, is_sent);
        Ok(())
    }

    /// It was sent, or has left, and enters again if it does.
    fn note(&self, life: &mut Life, is_sent: bool) {
        life.to = self.now();
        life.is_sent = is_sent;
        self.lives.lock().unwrap().push(*life);
        life.from = life.to;
    }
}

/// Runs what comes at a limit of one in so many milliseconds, which changes now and then.
fn lives(floor: u32, arrivals: &[(u64, usize, usize, Manner)], paces: &[(u64, u64)]) -> Vec<Life> {
    paused(async {
        let endpoints = Endpoints::new()
            .route("/a", Quota::unlimited())
            .overall(per(1, 10));
        let layer = RpsLayer::new(endpoints).priority_floor(Some(floor));
        let world = World::new(layer.handle());
        let mut arrivals = arrivals.to_vec();
        arrivals.sort_unstable_by_key(|arrival| arrival.0);
        let resizes = {
            let (world, paces) = (world.clone(), paces.to_vec());
            tokio::spawn(async move {
                for (after, pace) in paces {
                    tokio::time::sleep(ms(after)).await;
                    let pace = per(1, pace);
                    world.handle.set_quota(Endpoints::OVERALL, pace).unwrap();
                }
            })
        };
        let mut tasks = Vec::new();
        for (at, class, flow, manner) in arrivals {
            tokio::time::sleep_until(world.start + ms(at)).await;
            tasks.push(tokio::spawn(world.clone().visit(class, flow, manner)));
            settle().await;
        }
        for task in tasks {
            task.await.unwrap().unwrap();
        }
        resizes.abort();
        let lives = world.lives.lock().unwrap();
        lives.clone()
    })
}

fn paces() -> impl Strategy<Value = Vec<(u64, u64)>> {
    vec((1_u64..300, 5_u64..25), 0..6)
}

/// Whether one of these waits, and is not absent, at each instant of a stretch.
fn wait_throughout<'a>(
    lives: &(impl Iterator<Item = &'a Life> + Clone),
    from: u64,
    to: u64,
) -> bool {
    let mut covered = from;
    while covered < to {
        let waits = lives.clone().filter(|life| {
            !matches!(life.manner, Manner::Absent(_)) && life.from <= covered && life.to > covered
        });
        match waits.map(|life| life.to).max() {
            Some(next) => covered = next,
            None => return false,
        }
    }
    true
}

proptest! {
    #![proptest_config(cases(60))]

    /// L15: with k before it in its class, one of the lowest class is sent among the next `floor * (k + 1)` at the latest,
    /// and one more, as the floor holds to within one request; whatever waits of the higher class.
    #[test]
    fn the_lowest_class_waits_no_longer_than_the_floor_says(
        floor in 4_u32..12,
        high in vec((0_u64..600, manner()), 60..200),
        low in vec((0_u64..600, manner()), 1..25),
        paces in paces(),
    ) {
        let high = high.into_iter().map(|(at, manner)| (at, 0, 0, manner));
        let low = low.into_iter().map(|(at, manner)| (at, 2, 0, manner));
        let arrivals: Vec<_> = high.chain(low).collect();
        let lives = lives(floor, &arrivals, &paces);
        let sent = |life: &&Life| life.is_sent;
        let of_low = || lives.iter().filter(|life| life.class == 2);
        for life in of_low().filter(sent) {
            // Who is absent has not waited; who comes back as a retry has gone before others.
            if matches!(life.manner, Manner::Absent(_)) {
                continue;
            }
            // Each that is sent before it in its class, whenever it came: retries are older than they look.
            let before = of_low().filter(sent).filter(|other| other.to < life.to);
            let ahead = before.filter(|other| other.to > life.from).count();
            let all = lives.iter().filter(sent);
            let meanwhile = all.filter(|other| life.from < other.to && other.to < life.to).count();
            let most = floor as usize * (ahead + 1) + 1;
            prop_assert!(meanwhile <= most, "{meanwhile} of {most}: {life:?}");
        }
    }

    /// L16: while two flows both wait, what they were given by weight differs by one request of each at most, and by what
    /// was offered to an absent one and taken back.
    #[test]
    fn flows_share_by_weight_whoever_leaves_or_does_not_come(
        arrivals in vec((0_u64..600, 0_usize..3, manner()), 20..150),
        paces in paces(),
    ) {
        let arrivals: Vec<_> =
            arrivals.into_iter().map(|(at, flow, manner)| (at, 1, flow, manner)).collect();
        let lives = lives(8, &arrivals, &paces);
        let mut sent: Vec<_> = lives.iter().filter(|life| life.is_sent).collect();
        sent.sort_by_key(|life| life.to);
        for (f, g) in [(0, 1), (0, 2), (1, 2)] {
            let of = |flow: usize| lives.iter().filter(move |life| life.flow == flow);
            for (i, first) in sent.iter().enumerate() {
                let mut given = [0_i64; 3];
                for last in &sent[i..] {
                    let from = first.to.saturating_sub(1);
                    if !wait_throughout(&of(f), from, last.to)
                        || !wait_throughout(&of(g), from, last.to)
                    {
                        break;
                    }
                    given[last.flow] += 1;
                    let weight = |flow: usize| i64::try_from(flow + 1).unwrap();
                    // Multiplied by both weights.
                    let apart = given[f] * weight(g) - given[g] * weight(f);
                    let most = weight(f) + weight(g);
                    prop_assert!(
                        apart.abs() <= most,
                        "{f} and {g} from {} to {}: {given:?}", first.to, last.to
                    );
                }
            }
        }
    }
}
