use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata,
    SharedString, Unit,
};

/// As a metric was described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    pub kind: &'static str,
    pub unit: Option<Unit>,
    pub help: String,
}

/// What a series has come to.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Counter(u64),
    Gauge(f64),
    Histogram(Vec<f64>),
}

/// Labels with their values.
type Labels = BTreeMap<String, String>;

/// Keeps what is recorded.
#[derive(Clone, Debug, Default)]
pub struct Recorder(Arc<State>);

#[derive(Debug, Default)]
struct State {
    described: Mutex<BTreeMap<String, Described>>,
    series: Mutex<BTreeMap<(String, Labels), Arc<Series>>>,
}

#[derive(Debug)]
struct Series(Mutex<Value>);

impl Recorder {
    pub fn described(&self) -> BTreeMap<String, Described> {
        self.0.described.lock().unwrap().clone()
    }

    /// All series that were recorded to.
    pub fn series(&self) -> BTreeMap<(String, Labels), Value> {
        let series = self.0.series.lock().unwrap();
        let value = |series: &Series| series.0.lock().unwrap().clone();
        series
            .iter()
            .map(|(key, series)| (key.clone(), value(series)))
            .filter(|(_, value)| !matches!(value, Value::Counter(0)))
            .filter(|(_, value)| *value != Value::Histogram(Vec::new()))
            .collect()
    }

    /// Which labels each metric has.
    pub fn labels(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut all: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for ((name, labels), _) in self.series() {
            all.entry(name).or_default().extend(labels.into_keys());
        }
        all
    }

    /// The values that one label has.
    pub fn values(&self, label: &str) -> BTreeSet<String> {
        let series = self.series().into_keys();
        series
            .filter_map(|(_, mut labels)| labels.remove(label))
            .collect()
    }

    /// One series.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<Value> {
        let owned = |&(key, value): &(&str, &str)| (key.to_owned(), value.to_owned());
        let labels = labels.iter().map(owned).collect();
        let name = format!("tower_throttle_{name}");
        self.series().remove(&(name, labels))
    }

    fn describe(&self, kind: &'static str, key: &KeyName, unit: Option<Unit>, help: &str) {
        let help = help.to_owned();
        let described = Described { kind, unit, help };
        let mut all = self.0.described.lock().unwrap();
        all.insert(key.as_str().to_owned(), described);
    }

    fn register(&self, key: &Key, new: Value) -> Arc<Series> {
        let labels = key
            .labels()
            .map(|label| (label.key().to_owned(), label.value().to_owned()))
            .collect();
        let mut series = self.0.series.lock().unwrap();
        let series = series
            .entry((key.name().to_owned(), labels))
            .or_insert_with(|| Arc::new(Series(Mutex::new(new))));
        Arc::clone(series)
    }
}

impl metrics::Recorder for Recorder {
    fn describe_counter(&self, key: KeyName, unit: Option<Unit>, help: SharedString) {
        self.describe("counter", &key, unit, &help);
    }

    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, help: SharedString) {
        self.describe("gauge", &key, unit, &help);
    }

    fn describe_histogram(&self, key: KeyName, unit: Option<Unit>, help: SharedString) {
        self.describe("histogram", &key, unit, &help);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.register(key, Value::Counter(0)))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.register(key, Value::Gauge(f64::NAN)))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.register(key, Value::Histogram(Vec::new())))
    }
}

impl CounterFn for Series {
    fn increment(&self, n: u64) {
        match &mut *self.0.lock().unwrap() {
            Value::Counter(sum) => *sum += n,
            other => panic!("no counter: {other:?}"),
        }
    }

    fn absolute(&self, _: u64) {
        panic!("a counter is only incremented");
    }
}

impl GaugeFn for Series {
    fn increment(&self, _: f64) {
        panic!("a gauge is only set");
    }

    fn decrement(&self, _: f64) {
        panic!("a gauge is only set");
    }

    fn set(&self, value: f64) {
        *self.0.lock().unwrap() = Value::Gauge(value);
    }
}

impl HistogramFn for Series {
    fn record(&self, value: f64) {
        match &mut *self.0.lock().unwrap() {
            Value::Histogram(all) => all.push(value),
            other => panic!("no histogram: {other:?}"),
        }
    }
}
