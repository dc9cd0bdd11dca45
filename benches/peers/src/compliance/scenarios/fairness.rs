//! Ten tenants at one endpoint: one has hundreds of requests queued and the others few; and all have many, with weights.

use std::time::Duration;

use super::{
    QUEUES, SEEDS,
    served::{
        Entry, SLOT, Served, both, in_order, independent, largest_rise, serve, used, waiting,
        waits, within,
    },
};
use crate::compliance::{
    contestants::{Caller, Class, Contestant, Limits},
    figures::{Fairness, rounded},
    load::{ms, secs},
};

const TENANTS: usize = 10;
const GREEDY: usize = 0;
const LIMITS: Limits = Limits::per(1, SLOT);

/// What the greedy one has queued at the start. The others send one request per second each, half of their part.
const QUEUED: usize = 500;
const LASTS: Duration = secs(40);

/// What each has queued where all have many.
const EACH: usize = 200;

pub fn run() -> Vec<Fairness> {
    let rows = QUEUES
        .iter()
        .filter(|(name, _)| !name.ends_with("no floor"));
    rows.map(|(name, contestant)| row((*name).to_owned(), *contestant))
        .collect()
}

fn row(client: String, contestant: &dyn Contestant) -> Fairness {
    let greedy: Vec<_> = SEEDS.map(|seed| beside_greedy(contestant, seed)).collect();
    let backlogged = |seed| serve(contestant, LIMITS, &all_have_many(seed), seed);
    let weighted: Vec<_> = SEEDS.map(backlogged).collect();
    let worst = |runs: &[Vec<Served>]| {
        let figures = runs.iter().map(|run| of_bound(run));
        rounded(figures.fold(0.0, f64::max))
    };
    let rate = LIMITS.rate.expect("it has one");
    let used = greedy.iter().map(|run| used(run, rate));
    let parts: Vec<_> = weighted.iter().flat_map(|run| parts(run)).collect();
    Fairness {
        client,
        polite: waits(&greedy, is_polite),
        greedy: waits(&greedy, |caller| !is_polite(caller)),
        of_bound: worst(&greedy),
        used: rounded(used.fold(f64::INFINITY, f64::min)),
        least_part: rounded(parts.iter().copied().fold(f64::INFINITY, f64::min)),
        largest_part: rounded(parts.iter().copied().fold(0.0, f64::max)),
        of_bound_by_weight: worst(&weighted),
    }
}

pub fn is_polite(caller: &Caller) -> bool {
    caller.tenant != GREEDY
}

fn caller(tenant: usize, weight: u32) -> Caller {
    Caller {
        class: Class::Batch,
        tenant,
        weight,
    }
}

/// One run beside a greedy tenant.
pub fn beside_greedy(contestant: &dyn Contestant, seed: u64) -> Vec<Served> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut entries = vec![(Duration::ZERO, caller(GREEDY, 1)); QUEUED];
    for tenant in (0..TENANTS).filter(|tenant| *tenant != GREEDY) {
        let came = independent(&mut random, 1.0, ms(1), LASTS);
        entries.extend(came.into_iter().map(|came| (came, caller(tenant, 1))));
    }
    serve(contestant, LIMITS, &in_order(entries), seed)
}

fn weight(tenant: usize) -> u32 {
    u32::try_from(tenant % 4).expect("at most 3") + 1
}

/// All at once and mixed, as is best for those who go by age.
fn all_have_many(seed: u64) -> Vec<Entry> {
    let of = |tenant| vec![(Duration::ZERO, caller(tenant, weight(tenant))); EACH];
    let mut entries: Vec<_> = (0..TENANTS).flat_map(of).collect();
    fastrand::Rng::with_seed(seed).shuffle(&mut entries);
    entries
}

/// What each tenant has got of its part by weight, when the first of them has nothing more to send.
fn parts(run: &[Served]) -> Vec<f64> {
    let mut got = [0_usize; TENANTS];
    let mut all = 0_usize;
    for served in run {
        let got = &mut got[served.caller.tenant];
        *got += 1;
        all += 1;
        if *got == EACH {
            break;
        }
    }
    let weights: u32 = (0..TENANTS).map(weight).sum();
    let part = |(tenant, got): (usize, usize)| {
        let due = all as f64 * f64::from(weight(tenant)) / f64::from(weights);
        got as f64 / due
    };
    got.into_iter().enumerate().map(part).collect()
}

/// The most by which one tenant gets ahead of another while both wait, by weight: as a multiple of what law L16 allows,
/// one request of each.
fn of_bound(run: &[Served]) -> f64 {
    let waiting: Vec<_> = (0..TENANTS)
        .map(|tenant| waiting(run, |caller| caller.tenant == tenant))
        .collect();
    let mut takes = [1.0; TENANTS];
    for Caller { tenant, weight, .. } in run.iter().map(|served| served.caller) {
        takes[tenant] = 1.0 / f64::from(weight);
    }
    let mut worst = 0.0_f64;
    for f in 0..TENANTS {
        for g in (0..TENANTS).filter(|g| *g != f) {
            for stretch in both(&waiting[f], &waiting[g]) {
                let tenants = within(run, stretch)
                    .iter()
                    .map(|served| served.caller.tenant);
                let ahead = largest_rise(tenants.map(|tenant| match tenant {
                    _ if tenant == f => takes[f],
                    _ if tenant == g => -takes[g],
                    _ => 0.0,
                }));
                worst = worst.max(ahead / (takes[f] + takes[g]));
            }
        }
    }
    worst
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All wait from the start, and one is sent per millisecond.
    fn run(tenants: &[usize], weight: impl Fn(usize) -> u32) -> Vec<Served> {
        let served = |(slot, tenant): (usize, &usize)| Served {
            caller: caller(*tenant, weight(*tenant)),
            came: Duration::ZERO,
            sent: ms(slot as u64),
        };
        tenants.iter().enumerate().map(served).collect()
    }

    #[test]
    fn whoever_gets_ahead_of_another_is_seen() {
        // What is sent at the start, and the last one of a tenant, count for nothing.
        let in_turn = run(&[0, 1, 0, 1, 0, 1, 0], |_| 1);
        assert!((of_bound(&in_turn) - 0.5).abs() < 1e-9);
        let by_age = run(&[0, 0, 0, 0, 0, 1, 0, 1], |_| 1);
        assert!((of_bound(&by_age) - 2.0).abs() < 1e-9);
        let by_weight = run(&[0, 1, 1, 0, 1, 1, 0, 1, 1], |tenant| tenant as u32 + 1);
        assert!((of_bound(&by_weight) - 1.0 / 1.5).abs() < 1e-9);
    }

    #[test]
    fn each_gets_its_part_of_what_goes_out_while_all_have_more() {
        let all: Vec<_> = (0..TENANTS * EACH).map(|i| i % TENANTS).collect();
        let parts = parts(&run(&all, weight));
        // One of 23 is due, and one of 10 is given.
        assert!((parts[0] - 2.3).abs() < 0.02);
        assert!((parts[3] - 0.575).abs() < 0.01);
    }
}
