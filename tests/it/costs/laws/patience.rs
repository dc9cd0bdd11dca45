//! L10 with costs: who would have gone in time is not refused.

use proptest::{collection::vec, prelude::*};
use tower_throttle::{Cost, Endpoints, RefusedReason, Terms};

use super::{
    ledger::{Limit, OUTPUT, UNITS},
    schedule::limit,
};
use crate::support::{
    AnyLayer, Came, Face, Probe, Task, Work, at, came, cases, enter, job, ms, paused,
};

/// Of each unit; never more than the windows hold.
type Costs = [u64; 3];

/// When each of them goes after these have gone, in order, from `now` on.
fn model(limit: &Limit, sent: &[(u64, Costs)], queue: &[Costs], now: u64) -> u64 {
    let mut sent = sent.to_vec();
    let mut now = now;
    for costs in queue {
        let lacks = |now: u64, sent: &[(u64, Costs)]| {
            limit.windows.iter().any(|&(unit, n, period)| {
                let counts = |at: u64| now < at + period + limit.margin;
                let used: u64 = sent
                    .iter()
                    .filter(|(at, _)| counts(*at))
                    .map(|(_, c)| c[unit])
                    .sum();
                costs[unit] > 0 && used + costs[unit] > n
            })
        };
        while lacks(now, &sent) {
            now += 1;
        }
        sent.push((now, *costs));
    }
    now
}

proptest! {
    #![proptest_config(cases(150))]

    /// L10: the computed wait is never longer than what it would take if everyone ahead went.
    #[test]
    fn nobody_is_refused_who_would_have_gone_in_time(
        mut limit in limit(),
        max_wait in 0u64..150,
        throttle in any::<bool>(),
        asks in vec((prop_oneof![1 => Just(0u64), 1 => 0u64..40], 1u64..3, 0u64..100, 0u64..100), 1..25),
    ) {
        limit.windows.retain(|window| window.0 != OUTPUT);
        limit.permits = None;
        limit.grace = 0;
        paused(async {
            let probe = Probe::new();
            let face = if throttle { Face::Throttle } else { Face::Rps };
            let layer = AnyLayer::new(face, Endpoints::new().route("/a", limit.quota())).max_wait(ms(max_wait));
            let client = layer.client(&probe);
            let mut now = 0;
            let mut entered = Vec::new();
            for (wait, requests, tokens, output) in asks {
                now += wait;
                at(&probe, now).await;
                let mut costs = [requests, tokens, output];
                for &(unit, n, _) in &limit.windows {
                    costs[unit] = costs[unit].min(n);
                }
                let mut cost = Cost::new();
                for (unit, n) in UNITS.into_iter().zip(costs) {
                    cost = cost.of(unit, n);
                }
                let mut request = job("/a", ms(0));
                request.extensions_mut().insert(Terms::new().cost(cost));
                // Who was sent, and who waits.
                let mut sent = Vec::new();
                let mut queue: Vec<Costs> = Vec::new();
                for (_, costs, task, _) in &entered {
                    let task: &Task = task;
                    if !task.is_finished() {
                        queue.push(*costs);
                    }
                }
                for call in &probe.log().calls {
                    sent.push((probe.millis(call.at), entered[call.id].1));
                }
                queue.push(costs);
                let could = model(&limit, &sent, &queue, now);
                let id = entered.len();
                let work = Work::head(ms(0)).id(id);
                request.extensions_mut().insert(work);
                let task = enter(&client, &probe, request).await;
                entered.push((now, costs, task, could));
            }
            let (times, tasks): (Vec<_>, Vec<_>) = entered.into_iter().map(|(at, _, task, could)| ((at, could), task)).unzip();
            for ((entered, could), came) in times.into_iter().zip(came(tasks).await) {
                match came {
                    Came::Sent(at) => assert!(at <= entered + max_wait, "{entered}: {at}"),
                    Came::Refused(at, RefusedReason::WouldWaitTooLong, wait) if at == entered => {
                        assert!(could > entered + max_wait, "at {entered}: {could}, {wait:?}");
                        let wait = wait.expect("it is known how long");
                        assert!(wait > ms(max_wait) && entered + u64::try_from(wait.as_millis()).unwrap() <= could, "{wait:?} at {entered}: {could}");
                    }
                    Came::Refused(at, reason, _) => {
                        assert!(could > entered + max_wait, "at {entered}: {could}");
                        assert!(at <= entered + max_wait, "{entered}: {at} {reason:?}");
                    }
                }
            }
        });
    }
}
