//! What all requests share.

use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use serde::Serialize;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::spawn_blocking,
    time::Instant,
};
use tower_throttle::elevenlabs::{Family, MaxConcurrent, Plan};

use crate::{
    archive::Finished,
    limits::Activity,
    progress::{Monitor, Overview},
    script::{Failure, NoScript, Script},
    speech::{self, Speech, Subscription},
    split::Kind,
};

/// How many scripts may run at once. Each may hold a text of the largest size and its segments.
pub const MAX_SCRIPTS: usize = 8;

/// How many segments of a script are taken in at once, unless somebody says otherwise.
pub const BATCH: NonZeroUsize = NonZeroUsize::new(10).unwrap();

/// The longest segment, in characters: what ElevenLabs takes at once on the free plan. Other plans and
/// OpenAI's protocol take more.
pub const MAX_CHARS: NonZeroUsize = NonZeroUsize::new(2_500).unwrap();

/// Where scripts are voiced.
#[derive(Debug)]
pub struct Studio {
    speech: Speech,
    monitor: Monitor,
    batch: NonZeroUsize,
    places: Arc<Semaphore>,
    subscription: Mutex<Option<(Subscription, Instant)>>,
}

/// A place for a script, until it is dropped.
#[derive(Debug)]
pub struct Place {
    _permit: OwnedSemaphorePermit,
}

/// Everything that is going on, at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    /// `ELEVENLABS_MAX_CONCURRENT`.
    pub setting: usize,
    /// How many segments of a script are taken in at once.
    pub batch: usize,
    /// What is going on at ElevenLabs.
    pub dialogue: Activity,
    /// What is going on at the narrator.
    pub narration: Activity,
    /// The scripts.
    pub scripts: Overview,
    /// The account, as it was when it was last read, if it could be.
    pub subscription: Option<SubscriptionStatus>,
}

/// The account, as it was when it was last read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SubscriptionStatus {
    /// What it was.
    #[serde(flatten)]
    pub subscription: Subscription,
    /// How long ago that was.
    pub read_seconds_ago: u64,
}

impl Studio {
    /// Takes so many segments of each script in at once.
    pub fn new(speech: Speech, batch: NonZeroUsize) -> Self {
        Self {
            speech,
            monitor: Monitor::default(),
            batch,
            places: Arc::new(Semaphore::new(MAX_SCRIPTS)),
            subscription: Mutex::default(),
        }
    }

    /// A place for one more script, if there is one.
    pub fn place(&self) -> Option<Place> {
        let permit = Arc::clone(&self.places).try_acquire_owned().ok()?;
        Some(Place { _permit: permit })
    }

    /// Reads `{"text": ...}` and splits the text, on a thread for work that takes long.
    ///
    /// # Errors
    ///
    /// If it is no script.
    pub async fn read(&self, json: Bytes) -> Result<Arc<Script>, NoScript> {
        let read = spawn_blocking(move || Script::read(&json, MAX_CHARS));
        let script = read.await.expect("reading a script does not panic")?;
        Ok(Arc::new(script))
    }

    /// Voices a script. While it runs, its segments of dialogue may lower the limit.
    ///
    /// Dropping the future cancels it.
    ///
    /// # Errors
    ///
    /// If a segment cannot be voiced, or the zip not be written.
    pub async fn voice(self: &Arc<Self>, script: Arc<Script>) -> Result<Finished, Failure> {
        let (total, dialogue) = (script.segments().len(), script.dialogue());
        let running = self.monitor.begin(total, dialogue);
        let number = running.progress().script();
        tracing::info!(
            "script {number}: {} characters in {total} segments, {dialogue} of them dialogue, {} at a time",
            script.characters(),
            self.batch
        );
        let _careful = self.speech.limits().script(dialogue);
        // Nobody waits for this, and nothing depends on it; that it does not work was said at the start.
        tokio::spawn(Arc::clone(self).read_subscription());
        let start = Instant::now();
        let voiced = Box::pin(script.voice(&self.speech, running.progress(), self.batch));
        let finished = voiced.await.inspect_err(|failure| {
            tracing::error!("script {number}: {failure}");
        })?;
        let (time, size) = (start.elapsed().as_secs_f64(), finished.size);
        tracing::info!("script {number}: a zip of {size} bytes after {time:.1} s");
        Ok(finished)
    }

    /// Reads the account's quota from the API, and says in the log what it is.
    async fn read_subscription(self: Arc<Self>) -> Result<Subscription, speech::Error> {
        let subscription = self.speech.subscription().await?;
        let Subscription {
            tier,
            character_count,
            character_limit,
        } = &subscription;
        tracing::info!(
            "subscription: plan {tier}, {character_count} of {character_limit} characters used"
        );
        *self.known_subscription() = Some((subscription.clone(), Instant::now()));
        Ok(subscription)
    }

    /// Warns if the setting is above what the plan allows. The plan is as given, or else what the API says.
    pub async fn check_plan(self: &Arc<Self>, given: Option<Plan>) {
        let subscription = Arc::clone(self).read_subscription().await;
        let subscription = subscription.inspect_err(|error| {
            tracing::warn!("the subscription's quota is not known: {error}");
        });
        let setting = self.speech.limits().setting();
        let tier = subscription.ok().map(|subscription| subscription.tier);
        let plan = given.or_else(|| tier.as_ref()?.parse().ok());
        if let Some(plan) = plan {
            if let Some(preset) = plan.preset() {
                let (limit, recommended) = (preset.limit, preset.recommended);
                tracing::info!(
                    "the plan {plan} allows {limit} at once; {recommended} are recommended, {setting} are set"
                );
            }
            for warning in plan_warnings(setting, plan, self.speech.model()) {
                tracing::warn!("{warning}");
            }
            if let Some(tier) = tier.filter(|tier| tier != plan.name()) {
                tracing::warn!("the plan is {tier}, says the API, and not {plan}");
            }
        } else {
            let plan = tier.map_or("the plan".to_owned(), |tier| format!("the plan {tier:?}"));
            tracing::warn!(
                "nobody knows whether {setting} at once is too many for {plan}: --plan tells it"
            );
        }
        if self.batch.get() < setting.get() {
            tracing::warn!(
                "one script alone takes {} segments in at once, and so never uses all {setting} places: --batch changes it",
                self.batch
            );
        }
    }

    /// Everything that is going on.
    pub fn status(&self) -> Status {
        let limits = self.speech.limits();
        let subscription = self.known_subscription().clone();
        Status {
            setting: limits.setting().get(),
            batch: self.batch.get(),
            dialogue: limits.activity(Kind::Dialogue),
            narration: limits.activity(Kind::Narration),
            scripts: self.monitor.overview(),
            subscription: subscription.map(|(subscription, read_at)| SubscriptionStatus {
                subscription,
                read_seconds_ago: read_at.elapsed().as_secs(),
            }),
        }
    }

    fn known_subscription(&self) -> std::sync::MutexGuard<'_, Option<(Subscription, Instant)>> {
        self.subscription
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is to be said of a setting on a plan: nothing, if it is within both tables of limits there are.
pub fn plan_warnings(setting: MaxConcurrent, plan: Plan, model: &str) -> Vec<String> {
    let family = Family::of_model(model);
    if let Err(above) = setting.check(plan) {
        return vec![format!("{above}!")];
    }
    setting
        .check_family(plan, family)
        .err()
        .map(|above| {
            format!("{above} (of the models in the family {family}, as published on 2026-06-26)")
        })
        .into_iter()
        .collect()
}
