//! `docs/operating.md` and the dashboard say what the observers do.

use std::collections::{BTreeMap, BTreeSet};

use crate::observed::{self, Logs, Recorder, Value, everything, quoted, table};
use metrics::Unit;
use tower_throttle::{Metrics, Tracing};
use tracing_subscriber::layer::SubscriberExt as _;

const GUIDE: &str = include_str!("../../../docs/operating.md");
const DASHBOARD: &str = include_str!("../../../docs/grafana/tower-throttle.json");
const METRICS: &str = "| metric | type | unit | labels | meaning |";
const LABELS: &str = "| label | values |";
const LOGS: &str = "| message | level | fields |";

/// Runs with a clock that is paused.
fn paused<T>(run: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(run)
}

/// What a run with everything records.
fn recorded() -> Recorder {
    let recorder = Recorder::default();
    metrics::with_local_recorder(&recorder, || {
        let metrics = Metrics::new("test");
        let look = metrics.clone();
        paused(everything(metrics, move |handle| look.record(handle)));
    });
    recorder
}

/// The rows of the table of metrics: name, type, unit, labels, meaning.
fn documented()
-> BTreeMap<&'static str, (&'static str, &'static str, BTreeSet<String>, &'static str)> {
    let rows = table(GUIDE, METRICS).into_iter();
    rows.map(|row| {
        let labels = quoted(row[3]).into_iter().map(str::to_owned).collect();
        (quoted(row[0])[0], (row[1], row[2], labels, row[4]))
    })
    .collect()
}

/// The table of metrics is what is described to the recorder: no name more, none less.
#[test]
fn the_guide_lists_each_metric_as_it_is_described() {
    let recorder = Recorder::default();
    metrics::with_local_recorder(&recorder, || drop(Metrics::new("test")));
    let described: BTreeMap<_, _> = recorder
        .described()
        .into_iter()
        .map(|(name, of)| {
            let unit = match of.unit {
                Some(Unit::Seconds) => "s",
                Some(Unit::Count) => "1",
                other => panic!("{name} has the unit {other:?}"),
            };
            (name, (of.kind, unit, of.help))
        })
        .collect();
    let documented: BTreeMap<_, _> = documented()
        .into_iter()
        .map(|(name, (kind, unit, _, help))| (name.to_owned(), (kind, unit, help.to_owned())))
        .collect();
    assert_eq!(described, documented);
}

/// As Prometheus has it: counters end in `_total`, what is in seconds says so, and nothing else does.
#[test]
fn names_tell_their_type_and_unit() {
    for (name, (kind, unit, ..)) in documented() {
        assert!(name.starts_with("tower_throttle_"), "{name}");
        assert_eq!(name.ends_with("_total"), kind == "counter", "{name}");
        assert_eq!(name.ends_with("_seconds"), unit == "s", "{name}");
        assert_eq!(
            name.ends_with("_duration_seconds"),
            kind == "histogram",
            "{name}"
        );
    }
}

/// A run with everything records each metric of the table, with its labels, and no other.
#[test]
fn each_metric_comes_about_with_its_labels() {
    let labels = recorded().labels();
    let documented: BTreeMap<_, _> = documented()
        .into_iter()
        .map(|(name, (_, _, labels, _))| (name.to_owned(), labels))
        .collect();
    assert_eq!(labels, documented);
}

/// The values of labels are those of the table, or names that were configured: no paths, however many there are.
#[test]
fn labels_have_known_values() {
    let recorder = recorded();
    for row in table(GUIDE, LABELS) {
        let (label, known) = (quoted(row[0])[0], quoted(row[1]));
        let values = recorder.values(label);
        assert!(!values.is_empty(), "{label}");
        if label != "window" {
            let unknown: Vec<_> = values
                .iter()
                .filter(|value| !known.contains(&value.as_str()))
                .collect();
            assert!(unknown.is_empty(), "{label}: {unknown:?}");
        }
    }
    let endpoints = recorder.values("endpoint");
    let expected = [
        "/crowd/{what}",
        "/one",
        "/quota/{what}",
        "/window",
        "each other path",
        "overall",
    ];
    assert_eq!(endpoints, expected.map(str::to_owned).into());
    assert_eq!(recorder.values("layer"), ["test".to_owned()].into());
    let shown = format!("{:?}", recorder.series());
    assert!(!shown.contains("secret"));
}

/// What is recorded is what was done.
#[test]
fn figures_are_those_of_the_run() {
    let recorder = recorded();
    let window = [("layer", "test"), ("endpoint", "/window")];
    let value = |name| recorder.value(name, &window);
    assert_eq!(value("dispatched_total"), Some(Value::Counter(2)));
    assert_eq!(value("queued_total"), Some(Value::Counter(1)));
    let times = |all: &[f64]| Some(Value::Histogram(all.to_vec()));
    assert_eq!(value("queue_duration_seconds"), times(&[0.0, 0.15]));
    assert_eq!(value("pause_wait_duration_seconds"), times(&[0.0, 0.15]));
    assert_eq!(value("answer_duration_seconds"), times(&[0.01, 0.01]));
    let refused = [window[0], window[1], ("reason", "would_wait_too_long")];
    assert_eq!(
        recorder.value("refused_total", &refused),
        Some(Value::Counter(1))
    );
    let one = [("layer", "test"), ("endpoint", "/one")];
    assert_eq!(
        recorder.value("bodies_kept_open_total", &one),
        Some(Value::Counter(1))
    );
    assert_eq!(
        recorder.value("disagreements_total", &one),
        Some(Value::Counter(1))
    );
    let overall = [("layer", "test"), ("endpoint", "overall")];
    assert_eq!(
        recorder.value("store_away_total", &overall),
        Some(Value::Counter(2))
    );
    let status = [window[0], window[1], ("http_response_status_code", "200")];
    assert_eq!(
        recorder.value("answered_total", &status),
        Some(Value::Counter(2))
    );
}

/// Gauges are those of the snapshot, and fall to 0 when what they are about is gone.
#[test]
fn gauges_are_those_of_the_snapshot() {
    let recorder = Recorder::default();
    metrics::with_local_recorder(&recorder, || {
        let metrics = Metrics::new("test");
        let (look, seen) = (metrics.clone(), std::cell::RefCell::new(Vec::new()));
        paused(everything(metrics, |handle| {
            look.record(handle);
            let one = [("layer", "test"), ("endpoint", "/one")];
            let of = |name| match recorder.value(name, &one) {
                Some(Value::Gauge(value)) => value,
                other => panic!("{name}: {other:?}"),
            };
            let names = ["waiting", "in_flight", "open_bodies", "concurrency_limit"];
            seen.borrow_mut().push((
                names.map(of),
                of("oldest_body_seconds"),
                of("head_wait_seconds"),
            ));
        }));
        let seen = seen.into_inner();
        assert_eq!(seen[0], ([0.0, 0.0, 0.0, 1.0], 0.0, 0.0));
        assert_eq!(seen[1], ([1.0, 1.0, 1.0, 1.0], 31.0, 31.0));
        assert_eq!(seen[2], ([0.0, 0.0, 0.0, 1.0], 0.0, 0.0));
    });
}

/// What a run with everything logs.
fn logged() -> Logs {
    let logs = Logs::default();
    let subscriber = tracing_subscriber::registry().with(logs.clone());
    tracing::subscriber::with_default(subscriber, || {
        paused(everything(Tracing::new("test"), |_| {}));
    });
    logs
}

/// The table of messages is what is logged, with its levels and fields.
#[test]
fn the_guide_lists_each_message_that_is_logged() {
    let mut logged_fields: BTreeMap<_, BTreeSet<String>> = BTreeMap::new();
    for line in logged().ours() {
        assert_eq!(line.fields.get("layer").map(String::as_str), Some("test"));
        assert!(line.fields.contains_key("endpoint"), "{line:?}");
        let key = (line.message, line.level.to_string());
        let common = ["layer", "endpoint", "bucket", "partition"];
        let fields = line.fields.into_keys();
        let fields = fields.filter(|field| !common.contains(&field.as_str()));
        logged_fields.entry(key).or_default().extend(fields);
    }
    let documented: BTreeMap<_, BTreeSet<String>> = table(GUIDE, LOGS)
        .into_iter()
        .map(|row| {
            let fields = quoted(row[2]).into_iter().map(str::to_owned).collect();
            ((row[0].to_owned(), row[1].to_owned()), fields)
        })
        .collect();
    assert_eq!(logged_fields, documented);
}

/// What metrics have as a label and logs as a field is the same word in both.
#[test]
fn logs_have_the_words_of_labels() {
    let (logs, labels) = (logged().ours(), table(GUIDE, LABELS));
    for (field, label) in [
        ("kind", "kind"),
        ("cause", "cause"),
        ("error.type", "reason"),
    ] {
        let row = labels.iter().find(|row| quoted(row[0])[0] == label);
        let known = quoted(row.unwrap()[1]);
        let values: BTreeSet<_> = logs
            .iter()
            .filter_map(|line| line.fields.get(field))
            .collect();
        assert!(!values.is_empty(), "{field}");
        for value in values {
            assert!(known.contains(&value.as_str()), "{field}: {value}");
        }
    }
}

/// No path of a request is logged above `DEBUG`; there it is, so that it can be found.
#[test]
fn paths_are_logged_at_debug_only() {
    let logs = logged().ours();
    let has_path = |line: &&observed::Line| format!("{line:?}").contains("secret-path");
    assert!(logs.iter().any(|line| has_path(&line)));
    let loud = logs
        .iter()
        .filter(|line| line.level < tracing::Level::DEBUG);
    assert_eq!(loud.filter(has_path).count(), 0);
}

/// Each query of the dashboard names metrics that exist, with labels that they have.
#[test]
fn the_dashboard_asks_for_what_there_is() {
    let known = documented();
    let dashboard: serde_json::Value = serde_json::from_str(DASHBOARD).unwrap();
    let mut queries = Vec::new();
    collect_queries(&dashboard, &mut queries);
    let mut asked = BTreeSet::new();
    for query in &queries {
        assert_eq!(
            query.matches('(').count(),
            query.matches(')').count(),
            "{query}"
        );
        let mut rest = query.as_str();
        while let Some(at) = rest.find("tower_throttle_") {
            let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let end = rest[at..]
                .find(|c| !is_name(c))
                .map_or(rest.len(), |n| at + n);
            let name = &rest[at..end];
            let of = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|suffix| known.get_key_value(name.strip_suffix(suffix)?))
                .filter(|(_, of)| of.0 == "histogram");
            let of = of.or_else(|| {
                known
                    .get_key_value(name)
                    .filter(|(_, of)| of.0 != "histogram")
            });
            let Some((name, (kind, _, labels, _))) = of else {
                panic!("{query}: there is no {name}");
            };
            asked.insert(*name);
            let tail = &rest[end..];
            let selector = tail
                .strip_prefix('{')
                .and_then(|tail| tail.split('}').next());
            let selector = selector.unwrap_or_else(|| panic!("{query}: {name} selects no layer"));
            for part in selector.split(',') {
                let label = part.split(['=', '!']).next().unwrap().trim();
                assert!(
                    labels.contains(label),
                    "{query}: {name} has no label {label}"
                );
            }
            let over_time = ["rate(", "increase("]
                .iter()
                .any(|f| rest[..at].ends_with(f));
            assert_eq!(over_time, *kind != "gauge", "{query}: {name} is a {kind}");
            rest = tail;
        }
    }
    let missing: Vec<_> = known.keys().filter(|name| !asked.contains(*name)).collect();
    assert!(
        missing.is_empty(),
        "the dashboard does not show {missing:?}"
    );
}

/// What stands under `expr` and `query`, wherever it is.
fn collect_queries(value: &serde_json::Value, queries: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(fields) => {
            for (key, value) in fields {
                match value.as_str() {
                    Some(text) if key == "expr" => queries.push(text.to_owned()),
                    _ => collect_queries(value, queries),
                }
            }
        }
        serde_json::Value::Array(items) => {
            for item in items {
                collect_queries(item, queries);
            }
        }
        _ => {}
    }
}
