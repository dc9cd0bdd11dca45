//! From a configuration to what a format holds.

use std::{collections::BTreeMap, time::Duration};

use super::{
    Config, Group, Others,
    retry::{Load, Retry, Waits},
    value::Value,
};
use crate::{
    bucket::Learning,
    quota::{Quota, write_duration},
};

/// The fields of a table that are there.
#[derive(Default)]
struct Fields(Vec<(String, Value)>);

impl Fields {
    fn put(&mut self, key: &str, value: Option<Value>) {
        self.0.extend(value.map(|value| (key.to_owned(), value)));
    }

    fn into_value(self) -> Value {
        Value::Map(self.0)
    }
}

impl Config {
    /// Plain values come first: TOML wants them before tables.
    pub(super) fn write(&self) -> Value {
        let mut top = Fields::default();
        top.put("overall", self.overall.as_ref().map(quota));
        match &self.others {
            Some(Others::Each(of)) => top.put("each_other_path", Some(quota(of))),
            Some(Others::All(of)) => top.put("all_other_paths", Some(quota(of))),
            None => {}
        }
        top.put(
            "across_partitions",
            self.across_partitions.as_ref().map(quota),
        );
        let header = self.partition_by_header.as_ref();
        let header = header.map(|name| Value::Text(name.as_str().to_owned()));
        top.put("partition_by_header", header);
        top.put("max_wait", self.max_wait.map(time));
        top.put("max_pause", self.max_pause.map(time));
        top.put("max_waiting", self.max_waiting.map(amount));
        top.put("max_keys", self.max_keys.map(amount));
        top.put("learning", learning(self.learning));
        match &self.retry {
            None => top.put("retry", Some(Value::Bool(false))),
            Some(retry) if *retry == Retry::default() => {}
            Some(retry) => top.put("retry", Some(retry.write())),
        }
        top.put("routes", quotas(&self.routes));
        top.put("named", quotas(&self.named));
        let groups = self.groups.iter();
        let groups: Vec<_> = groups
            .map(|(name, group)| (name.clone(), group.write()))
            .collect();
        top.put("groups", (!groups.is_empty()).then_some(Value::Map(groups)));
        top.into_value()
    }
}

impl Group {
    fn write(&self) -> Value {
        let mut fields = Fields::default();
        fields.put("quota", Some(quota(&self.quota)));
        let routes = self.routes.iter().cloned().map(Value::Text).collect();
        fields.put("routes", Some(Value::List(routes)));
        fields.into_value()
    }
}

impl Retry {
    fn write(&self) -> Value {
        let mut fields = Fields::default();
        let whole = |n: u32| Value::Whole(n.into());
        fields.put("max_attempts", self.max_attempts.map(whole));
        fields.put("max_total", self.max_total.map(time));
        fields.put("max_retry_after", self.max_retry_after.map(time));
        let statuses = self.statuses.as_ref().map(|statuses| {
            let statuses = statuses.iter().map(|&n| Value::Whole(n.into()));
            Value::List(statuses.collect())
        });
        fields.put("statuses", statuses);
        fields.put("trust_retry_after", self.trust_retry_after.map(Value::Bool));
        fields.put("backoff", self.backoff.as_ref().map(Waits::write));
        fields.put("budget", self.budget.as_ref().map(Load::write));
        fields.into_value()
    }
}

impl Waits {
    fn write(&self) -> Value {
        let mut fields = Fields::default();
        fields.put("kind", Some(Value::Text(self.kind.to_owned())));
        fields.put("base", Some(time(self.base)));
        fields.put("cap", Some(time(self.cap)));
        fields.into_value()
    }
}

impl Load {
    fn write(&self) -> Value {
        let Self::Bounded {
            capacity,
            per_success,
        } = self
        else {
            return Value::Bool(false);
        };
        let mut fields = Fields::default();
        fields.put("capacity", Some(Value::Whole((*capacity).into())));
        fields.put("per_success", Some(Value::Number(*per_success)));
        fields.into_value()
    }
}

fn learning(learning: Learning) -> Option<Value> {
    if learning == Learning::none() {
        return Some(Value::Bool(false));
    }
    let (all, mut fields) = (Learning::all(), Fields::default());
    let each = |of: Learning| {
        [
            ("concurrency", of.concurrency),
            ("margin", of.margin),
            ("rate", of.rate),
            ("quota_headers", of.quota_headers),
            ("discover", of.discover),
        ]
    };
    for ((key, value), (_, default)) in each(learning).into_iter().zip(each(all)) {
        fields.put(key, (value != default).then_some(Value::Bool(value)));
    }
    (learning != all).then(|| fields.into_value())
}

fn quotas(all: &BTreeMap<String, Quota>) -> Option<Value> {
    let fields = all.iter().map(|(key, of)| (key.clone(), quota(of)));
    (!all.is_empty()).then(|| Value::Map(fields.collect()))
}

fn quota(quota: &Quota) -> Value {
    Value::Text(quota.to_string())
}

fn time(time: Duration) -> Value {
    Value::Text(write_duration(time))
}

fn amount(n: usize) -> Value {
    Value::Whole(n as u64)
}
