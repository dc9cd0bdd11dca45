//! L13: no request waits for a future that is not polled.

use std::time::Duration;

use super::crowd::{Crowd, to_name};
use crate::{Endpoints, Quota};

/// One tick of tokio's clock more than others wait for a future.
const PATIENCE: Duration = Duration::from_millis(11);

fn endpoints(n: usize, quota: &Quota) -> Endpoints {
    (0..n).fold(Endpoints::new(), |endpoints, n| {
        endpoints.named(&n.to_string(), quota.clone())
    })
}

#[tokio::test(start_paused = true)]
async fn a_late_offer_is_taken_over_however_many_are_late_elsewhere() {
    const LATE: usize = 40;
    let mut crowd = Crowd::new(&endpoints(LATE, &Quota::concurrent(1)));
    crowd.keeps_permits = true;
    for of_each in 0..3 {
        for n in 0..LATE {
            assert_eq!(crowd.call(to_name(n)), of_each > 0);
        }
    }
    // Each endpoint offers its place to the older one, which is not polled.
    crowd.permits.clear();
    tokio::time::sleep(PATIENCE).await;
    for younger in (LATE..2 * LATE).rev() {
        assert!(crowd.is_woken(younger), "{younger}");
        crowd.poll(younger);
    }
    assert_eq!(crowd.gone, 2 * LATE);
}

#[tokio::test(start_paused = true)]
async fn the_next_behind_a_late_one_goes_when_one_between_them_is_dropped() {
    let mut crowd = Crowd::new(&endpoints(1, &Quota::concurrent(3)));
    crowd.keeps_permits = true;
    for n in 0..6 {
        assert_eq!(crowd.call(to_name(0)), n >= 3);
    }
    crowd.permits.clear();
    // They have been offered their places, and wait for the oldest of them, which is not polled.
    crowd.poll(1);
    crowd.poll(2);
    crowd.forget_woken();
    tokio::time::sleep(PATIENCE).await;
    assert!(crowd.is_woken(1) && !crowd.is_woken(2));
    crowd.cancel(1);
    assert!(crowd.is_woken(2));
    crowd.serve();
    assert_eq!(crowd.gone, 4);
}
