//! A layer that is closed (law L20).

use tower_throttle::RefusedReason;

use super::{Model, Stage};

impl Model<'_> {
    /// Everybody who has not been sent is refused, and whoever comes later.
    pub fn close(mut self) -> Self {
        self.is_closed = true;
        let waits = |stage: &Stage| {
            matches!(
                stage,
                Stage::Queued | Stage::Absent | Stage::Offered(_) | Stage::Reserved(_)
            )
        };
        let requests = self.requests.iter();
        let waiting = requests.filter(|(_, request)| waits(&request.stage));
        let waiting: Vec<_> = waiting.map(|(&id, _)| id).collect();
        for id in waiting {
            let leaf = self.requests[&id].leaf;
            if matches!(
                self.requests[&id].stage,
                Stage::Offered(_) | Stage::Reserved(_)
            ) {
                self.give_back(leaf);
            }
            self.forget_offer(id);
            let refusal = self.refuse(leaf, RefusedReason::Closed, 0, leaf);
            self.set_stage(id, Stage::Refused(refusal));
        }
        self.seats.clear();
        self.tidy();
        self
    }

    /// Whether neither a response future that was polled nor a body is alive.
    pub fn is_drained(&self) -> bool {
        let mut requests = self.requests.values();
        self.is_closed
            && requests.all(|request| match request.stage {
                Stage::Made => true,
                Stage::Sent { .. } => request.is_over,
                _ => false,
            })
    }
}
