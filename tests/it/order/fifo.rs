//! Who goes first: classes and the floor under them (law L15).

use crate::support::*;
use proptest::{collection::vec, prelude::*};
use tower::{Service, ServiceExt};
use tower_throttle::{Cost, Endpoints, Priority, Quota, RefusedReason, RpsLayer, Terms, Unit};

/// A request of a class, worked on for `work`. Its body tells the class.
fn of(priority: Priority, path: &str, work: u64) -> Req {
    let label = match priority {
        Priority::HIGH => "H",
        Priority::NORMAL => "N",
        _ => "L",
    };
    let mut request = job(path, ms(work)).map(|_| label);
    request
        .extensions_mut()
        .insert(Terms::new().priority(priority));
    request
}

fn high(path: &str) -> Req {
    of(Priority::HIGH, path, 0)
}

fn normal(path: &str) -> Req {
    of(Priority::NORMAL, path, 0)
}

fn low(path: &str) -> Req {
    of(Priority::LOW, path, 0)
}

async fn enter_all(client: &Client, probe: &Probe, requests: Vec<Req>) -> Vec<Task> {
    let mut tasks = Vec::new();
    for request in requests {
        tasks.push(enter(client, probe, request).await);
    }
    tasks
}

/// The classes of the calls, one letter each.
fn sent(probe: &Probe) -> String {
    probe.log().calls.iter().map(|call| call.body).collect()
}

#[tokio::test(start_paused = true)]
async fn of_those_that_wait_a_higher_class_goes_first() {
    for face in FACES {
        let probe = Probe::new();
        let quota = match face {
            Face::Concurrency => Quota::concurrent(1),
            _ => per(1, 100),
        };
        let client = layer_a(face, quota).client(&probe);
        let work = 100;
        let classes = [
            Priority::NORMAL,
            Priority::LOW,
            Priority::NORMAL,
            Priority::LOW,
            Priority::HIGH,
            Priority::HIGH,
        ];
        let requests = classes.map(|class| of(class, "/a", work)).to_vec();
        came(enter_all(&client, &probe, requests).await).await;
        assert_eq!(sent(&probe), "NHHNLL", "{face:?}");
        assert_eq!(probe.times(), [0, 100, 200, 300, 400, 500], "{face:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_interactive_request_goes_with_the_next_slot_whatever_waits() {
    let probe = Probe::new();
    let client = layer_a(Face::Rps, per(1, 100)).client(&probe);
    let mut tasks = enter_all(&client, &probe, vec![low("/a"); 1_000]).await;
    tokio::time::sleep(ms(250)).await;
    tasks.push(enter(&client, &probe, high("/a")).await);
    came(tasks).await;
    assert!(sent(&probe).starts_with("LLLHL"), "{}", &sent(&probe)[..9]);
    assert_eq!(probe.times()[3], 300);
}

#[tokio::test(start_paused = true)]
async fn under_a_backlog_the_lower_class_gets_an_eighth() {
    for floor in [None, Some(4), Some(8), Some(20)] {
        let probe = Probe::new();
        let layer = RpsLayer::new(endpoint_a(per(1, 100))).priority_floor(floor);
        let client = AnyLayer::Rps(layer).client(&probe);
        let requests = [vec![high("/a"); 81], vec![low("/a"); 20]].concat();
        came(enter_all(&client, &probe, requests).await).await;
        let sent = sent(&probe);
        let of_both = &sent[..81];
        let Some(one_in) = floor.map(|n| n as usize) else {
            assert_eq!(sent, "H".repeat(81) + &"L".repeat(20));
            continue;
        };
        // In any stretch in which both wait, to within one.
        for from in 1..of_both.len() {
            for to in from + 1..=of_both.len() {
                let stretch = &of_both[from..to];
                if !sent[to..].contains('H') || !sent[to..].contains('L') {
                    continue;
                }
                let low = stretch.matches('L').count();
                assert!(
                    (low + 1) * one_in > stretch.len() - 1,
                    "one in {one_in}: {stretch} of {sent}"
                );
                assert!(
                    low <= stretch.len() / one_in + 1,
                    "no more than that: {stretch} of {sent}"
                );
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_floor_is_kept_once_for_all_endpoints_of_a_wider_limit() {
    let probe = Probe::new();
    let endpoints = Endpoints::new()
        .route("/a", Quota::unlimited())
        .route("/b", Quota::unlimited())
        .overall(per(1, 100));
    let client = AnyLayer::new(Face::Rps, endpoints).client(&probe);
    let mut requests = vec![high("/a"); 20];
    requests.extend(vec![low("/b"); 5]);
    requests.extend(vec![high("/b"); 20]);
    requests.extend(vec![low("/a"); 5]);
    came(enter_all(&client, &probe, requests).await).await;
    let sent = sent(&probe);
    // The first went at once. Then one in eight while both wait.
    assert_eq!(&sent[..33], "HHHHHHHHLHHHHHHHLHHHHHHHLHHHHHHHL");
    let low: Vec<_> = sent.match_indices('L').map(|(at, _)| at).take(4).collect();
    let log = probe.log();
    let paths: Vec<_> = low.iter().map(|&at| &*log.calls[at].path).collect();
    // And among them by the order in which their endpoints' seats were taken.
    assert_eq!(paths, ["/b", "/a", "/b", "/a"]);
}

#[tokio::test(start_paused = true)]
async fn below_the_widest_limit_a_higher_class_always_goes_first() {
    let probe = Probe::new();
    let endpoints = Endpoints::new()
        .route("/a", per(1, 1000))
        .route("/b", Quota::unlimited())
        .overall(per(4, 1000));
    let client = AnyLayer::new(Face::Rps, endpoints).client(&probe);
    let requests = [
        vec![high("/a"); 12],
        vec![low("/a"); 2],
        vec![low("/b"); 60],
    ]
    .concat();
    came(enter_all(&client, &probe, requests).await).await;
    // Overall the lower class gets more than its part, at the other endpoint.
    let log = probe.log();
    let of_a = log.calls.iter().filter(|call| call.path == "/a");
    let of_a: String = of_a.map(|call| call.body).collect();
    assert_eq!(of_a, "H".repeat(12) + "LL");
}

#[tokio::test(start_paused = true)]
async fn what_the_floor_picks_is_not_passed_and_counts_by_its_cost() {
    let probe = Probe::new();
    let quota = Quota::unlimited().units(Unit::TOKENS, 100, ms(1000));
    let client = layer_a(Face::Rps, quota).client(&probe);
    let costs = |priority, n| {
        let mut request = of(priority, "/a", 0);
        let terms = Terms::new()
            .priority(priority)
            .cost(Cost::new().of(Unit::TOKENS, n));
        request.extensions_mut().insert(terms);
        request
    };
    let mut requests = vec![costs(Priority::HIGH, 50); 40];
    requests.extend(vec![costs(Priority::LOW, 100); 3]);
    came(enter_all(&client, &probe, requests).await).await;
    let sent = sent(&probe);
    // 14 times 50 go, and then 100, for which all that is there has to leave.
    let first = sent.find('L').unwrap();
    assert_eq!(sent[first + 1..].find('L'), Some(14), "{sent}");
    let times = probe.times();
    assert_eq!(times[first] - times[first - 1], 1000);
    assert_eq!(times[first + 1] - times[first], 1000);
}

#[tokio::test(start_paused = true)]
async fn of_three_classes_the_two_lower_share_what_is_theirs_in_the_same_way() {
    let probe = Probe::new();
    let client = layer_a(Face::Rps, per(1, 10)).client(&probe);
    let requests = [
        vec![high("/a"); 600],
        vec![normal("/a"); 90],
        vec![low("/a"); 20],
    ]
    .concat();
    came(enter_all(&client, &probe, requests).await).await;
    let sent = &sent(&probe)[1..513];
    let count = |class| sent.matches(class).count();
    assert_eq!((count("H"), count("N"), count("L")), (448, 56, 8));
}

#[tokio::test(start_paused = true)]
async fn who_leaves_or_does_not_come_has_not_been_given_anything() {
    let probe = Probe::new();
    let client = layer_a(Face::Rps, per(1, 100)).client(&probe);
    let mut tasks = enter_all(&client, &probe, vec![high("/a"); 30]).await;
    // A lower one that is never polled again.
    let mut absent = tokio_test::task::spawn({
        let mut client = client.clone();
        Service::call(&mut client, low("/a"))
    });
    assert!(absent.poll().is_pending());
    settle().await;
    tasks.push(enter(&client, &probe, low("/a")).await);
    came(tasks).await;
    // The other is served when the floor is due, after those 10 ms in which the absent one was waited for.
    let sent = sent(&probe);
    assert_eq!(sent.find('L'), Some(8), "{sent}");
    assert_eq!(probe.times()[8], 810);
    drop(absent);
}

#[tokio::test(start_paused = true)]
async fn a_class_can_be_told_from_the_head_and_terms_go_before() {
    let probe = Probe::new();
    let layer = RpsLayer::new(endpoint_a(per(1, 100))).priority_by(|head| {
        head.headers()
            .contains_key("batch")
            .then_some(Priority::LOW)
    });
    let client = AnyLayer::Rps(layer).client(&probe);
    let batch = |mut request: Req| {
        request.headers_mut().insert("batch", "1".parse().unwrap());
        request
    };
    let requests = vec![
        get("/a").map(|_| "first"),
        batch(get("/a")).map(|_| "batch"),
        get("/a").map(|_| "plain"),
        batch(high("/a")),
    ];
    came(enter_all(&client, &probe, requests).await).await;
    let bodies: Vec<_> = probe.log().calls.iter().map(|call| call.body).collect();
    assert_eq!(bodies, ["first", "H", "plain", "batch"]);
}

#[test]
#[should_panic(expected = "the floor is one part in 3: expected one in 4, or in more")]
fn a_floor_of_more_than_a_quarter_is_refused() {
    let _ = RpsLayer::new(Endpoints::new()).priority_floor(Some(3));
}

#[tokio::test(start_paused = true)]
async fn max_wait_counts_higher_classes_and_what_the_floor_gives() {
    let probe = Probe::new();
    let layer = RpsLayer::new(endpoint_a(per(1, 100))).max_wait(ms(450));
    let client = AnyLayer::Rps(layer).client(&probe);
    let mut tasks = enter_all(&client, &probe, vec![high("/a"); 5]).await;
    // Of its class it is the first: the floor may let it go in time.
    tasks.push(enter(&client, &probe, low("/a")).await);
    // The sixth of the high ones would go at 500.
    tasks.push(enter(&client, &probe, high("/a")).await);
    let came = came(tasks).await;
    let too_long = RefusedReason::WouldWaitTooLong;
    assert_eq!(came[6], Came::Refused(0, too_long, Some(ms(500))));
    // When the last high one has gone at 400, it is clear that it does not.
    assert_eq!(came[5], Came::Refused(400, too_long, Some(ms(100))));
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_gives_up_the_youngest_of_the_lowest_class() {
    let probe = Probe::new();
    let layer = RpsLayer::new(endpoint_a(per(1, 100))).max_waiting(3);
    let client = AnyLayer::Rps(layer).client(&probe);
    let requests = vec![
        normal("/a"), // goes
        low("/a"),
        normal("/a"),
        low("/a"),
        normal("/a"), // for the second low one
        low("/a"),    // refused: nobody is of a lower class
        high("/a"),   // for the first low one
        high("/a"),   // for the youngest normal one
        normal("/a"), // refused
    ];
    let tasks = enter_all(&client, &probe, requests).await;
    let came = came(tasks).await;
    let refused: Vec<_> = (0..came.len())
        .filter(|&at| matches!(came[at], Came::Refused(0, RefusedReason::QueueFull, _)))
        .collect();
    assert_eq!(refused, [1, 3, 4, 5, 8], "{came:?}");
    // When it could have gone is said, too.
    assert_eq!(
        came[3],
        Came::Refused(0, RefusedReason::QueueFull, Some(ms(300)))
    );
    assert_eq!(sent(&probe), "NHHN");
}

#[tokio::test(start_paused = true)]
async fn at_a_wider_scope_nobody_is_given_up() {
    let probe = Probe::new();
    let endpoints = Endpoints::new()
        .route("/a", Quota::unlimited())
        .route("/b", Quota::unlimited())
        .overall(per(1, 100));
    let layer = RpsLayer::new(endpoints).max_waiting(2);
    let client = AnyLayer::Rps(layer).client(&probe);
    let requests = vec![low("/b"), low("/b"), low("/b"), high("/a"), high("/b")];
    let came = came(enter_all(&client, &probe, requests).await).await;
    let full = |at: usize| matches!(came[at], Came::Refused(0, RefusedReason::QueueFull, _));
    // Another endpoint's requests are not for it to take.
    assert!(full(3), "{came:?}");
    // Its own endpoint's are, and that makes room in the wider scope, too.
    assert!(full(2), "{came:?}");
    assert_eq!(sent(&probe), "LHL");
}

#[tokio::test(start_paused = true)]
async fn nobody_is_given_up_for_one_that_is_refused_itself() {
    let probe = Probe::new();
    let layer = RpsLayer::new(endpoint_a(per(1, 100))).max_waiting(1);
    let client = AnyLayer::Rps(layer).client(&probe);
    let mut late = high("/a");
    let deadline = tokio::time::Instant::now() + ms(50);
    late.extensions_mut()
        .insert(Terms::new().priority(Priority::HIGH).deadline(deadline));
    let requests = vec![low("/a"), low("/a"), late];
    let came = came(enter_all(&client, &probe, requests).await).await;
    assert_eq!(came[1], Came::Sent(100));
    assert!(
        matches!(
            came[2],
            Came::Refused(0, RefusedReason::DeadlineWouldPass, _)
        ),
        "{came:?}"
    );
}

/// What became of a request.
#[derive(Clone, Copy, Debug)]
struct Life {
    class: usize,
    from: u64,
    /// When it was sent, or left.
    to: u64,
    sent: bool,
}

/// Whether one of these classes waits at each instant of a stretch.
fn wait_throughout(lives: &[Life], classes: &[usize], from: u64, to: u64) -> bool {
    let mut covered = from;
    while covered <= to {
        let waits = lives.iter().filter(|life| {
            classes.contains(&life.class) && life.from < covered && life.to > covered
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

    /// In any stretch in which those above a border and those below it wait, those below get their part of what goes to
    /// either, to within one.
    #[test]
    fn lower_classes_get_their_part_and_no_more(
        arrivals in vec((0_u64..150, 0_usize..3, 0_usize..2, 0_u8..8), 20..250),
        one_in in 4_usize..12,
    ) {
        let mut arrivals = arrivals;
        arrivals.sort_unstable();
        let lives = paused(async {
            let probe = Probe::new();
            let endpoints = Endpoints::new()
                .route("/a", Quota::unlimited())
                .route("/b", Quota::unlimited())
                .overall(per(1, 10));
            let layer = RpsLayer::new(endpoints).priority_floor(Some(u32::try_from(one_in).unwrap()));
            let client = AnyLayer::Rps(layer).client(&probe);
            let start = probe.start();
            let mut tasks = Vec::new();
            for &(at, class, path, patience) in &arrivals {
                // Nobody comes at an instant at which somebody goes.
                tokio::time::sleep_until(start + ms(at * 10 + 5)).await;
                let request = of(Priority::LOW, ["/a", "/b"][path], 0);
                let classes = [Priority::HIGH, Priority::NORMAL, Priority::LOW];
                let mut request = request;
                request.extensions_mut().insert(Terms::new().priority(classes[class]));
                let mut client = client.clone();
                tasks.push(tokio::spawn(async move {
                    let patience = if patience == 0 { ms(303) } else { ms(10_000_000) };
                    let call = async { client.ready().await.unwrap().call(request).await };
                    let came = tokio::time::timeout(patience, call).await;
                    let to = u64::try_from((tokio::time::Instant::now() - start).as_millis()).unwrap();
                    Life { class, from: at * 10 + 5, to, sent: came.is_ok() }
                }));
                settle().await;
            }
            let mut lives = Vec::new();
            for task in tasks {
                lives.push(task.await.unwrap());
            }
            lives
        });
        let mut sent: Vec<_> = lives.iter().filter(|life| life.sent).copied().collect();
        sent.sort_unstable_by_key(|life| life.to);
        for (border, below) in [(0, &[1, 2][..]), (1, &[2][..])] {
            let concerned: Vec<_> = sent.iter().filter(|life| life.class >= border).collect();
            for (i, first) in concerned.iter().enumerate() {
                for (n, last) in concerned[i..].iter().enumerate() {
                    let (from, to) = (first.to - 1, last.to);
                    if !wait_throughout(&lives, &[border], from, to)
                        || !wait_throughout(&lives, below, from, to)
                    {
                        break;
                    }
                    let given = n + 1;
                    let lower = concerned[i..=i + n].iter().filter(|life| life.class > border).count();
                    prop_assert!(
                        (lower + 1) * one_in >= given && lower <= given / one_in + 1,
                        "one in {}: {} of {} from {} to {}", one_in, lower, given, from, to
                    );
                }
            }
        }
    }
}
