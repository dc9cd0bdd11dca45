//! From what a format holds to a configuration.

use std::collections::BTreeMap;

use http::HeaderName;

use super::{
    Config, Group, Others,
    error::{InvalidConfig, Path, QUOTA},
    retry::Retry,
    value::{At, Section, Value},
};
use crate::{
    bucket::Learning,
    endpoints::{Endpoints, InvalidEndpoint},
    quota::Quota,
};

/// A table with a quota for each of the user's keys.
const QUOTAS: &str = "a table of quotas";

impl Config {
    pub(super) fn read(value: Value) -> Result<Self, InvalidConfig> {
        let path = Path::default();
        let mut top = At { path, value }.section("a table")?;
        let config = Self {
            routes: quotas(top.take("routes"))?,
            named: quotas(top.take("named"))?,
            groups: groups(top.take("groups"))?,
            overall: top.take("overall").map(quota).transpose()?,
            others: others(&mut top)?,
            across_partitions: top.take("across_partitions").map(quota).transpose()?,
            partition_by_header: top.take("partition_by_header").map(header).transpose()?,
            max_wait: top.take("max_wait").map(At::time).transpose()?,
            max_pause: top.take("max_pause").map(At::time).transpose()?,
            max_waiting: top.take("max_waiting").map(amount).transpose()?,
            max_keys: top.take("max_keys").map(amount).transpose()?,
            learning: learning(top.take("learning"))?,
            retry: Retry::read(top.take("retry"))?,
        };
        top.end()?;
        config.check()?;
        Ok(config)
    }

    /// Whether endpoints can be made of it: each error names the key that is to blame.
    fn check(&self) -> Result<(), InvalidConfig> {
        let made = self.make_endpoints();
        made.map(drop).map_err(|(path, error)| path.is(error))
    }

    pub(super) fn try_endpoints(&self) -> Result<Endpoints, InvalidEndpoint> {
        self.make_endpoints().map_err(|(_, error)| error)
    }

    /// The endpoints, or the key that is to blame.
    fn make_endpoints(&self) -> Result<Endpoints, (Path, InvalidEndpoint)> {
        let blame = |table, key| move |error| (Path::default().key(table).key(key), error);
        let mut endpoints = Endpoints::new();
        for (template, quota) in &self.routes {
            let more = endpoints.try_route(template, quota.clone());
            endpoints = more.map_err(blame("routes", template))?;
        }
        for (name, quota) in &self.named {
            let more = endpoints.try_named(name, quota.clone());
            endpoints = more.map_err(blame("named", name))?;
        }
        for (name, group) in &self.groups {
            let more = endpoints.try_group(name, group.quota.clone(), group.templates());
            endpoints = more.map_err(blame("groups", name))?;
        }
        if let Some(quota) = &self.overall {
            endpoints = endpoints.overall(quota.clone());
        }
        match &self.others {
            Some(Others::Each(quota)) => endpoints = endpoints.each_other_path(quota.clone()),
            Some(Others::All(quota)) => endpoints = endpoints.all_other_paths(quota.clone()),
            None => {}
        }
        if let Some(quota) = &self.across_partitions {
            endpoints = endpoints.across_partitions(quota.clone());
        }
        if let Some(name) = &self.partition_by_header {
            endpoints = endpoints.partition_by_header_name(name.clone());
        }
        Ok(endpoints)
    }
}

impl Group {
    fn templates(&self) -> impl Iterator<Item = &str> {
        self.routes.iter().map(String::as_str)
    }
}

fn quota(at: At) -> Result<Quota, InvalidConfig> {
    let (path, text) = at.text(QUOTA)?;
    text.parse().map_err(|error| path.is(error))
}

fn amount(at: At) -> Result<usize, InvalidConfig> {
    at.whole("a whole number")
}

fn header(at: At) -> Result<HeaderName, InvalidConfig> {
    const HEADER: &str = "the name of an HTTP header, such as \"authorization\"";
    let (path, text) = at.text(HEADER)?;
    let name = HeaderName::from_bytes(text.as_bytes());
    name.map_err(|_| path.is(format_args!("expected {HEADER}, found the text {text:?}")))
}

fn quotas(at: Option<At>) -> Result<BTreeMap<String, Quota>, InvalidConfig> {
    let Some(at) = at else {
        return Ok(BTreeMap::new());
    };
    let all = at.section(QUOTAS)?.all();
    all.map(|(key, at)| Ok((key, quota(at)?))).collect()
}

fn groups(at: Option<At>) -> Result<BTreeMap<String, Group>, InvalidConfig> {
    const GROUP: &str = "a table with `quota` and `routes`";
    let Some(at) = at else {
        return Ok(BTreeMap::new());
    };
    let all = at.section("a table of groups")?.all();
    all.map(|(name, at)| {
        let mut section = at.section(GROUP)?;
        let group = Group {
            quota: quota(section.need("quota", QUOTA)?)?,
            routes: templates(section.need("routes", "a list of templates")?)?,
        };
        section.end()?;
        Ok((name, group))
    })
    .collect()
}

fn templates(at: At) -> Result<Vec<String>, InvalidConfig> {
    let all = at.list("a list of templates")?.into_iter();
    all.map(|at| Ok(at.text("a template such as \"GET /v1/{id}\"")?.1))
        .collect()
}

fn others(top: &mut Section) -> Result<Option<Others>, InvalidConfig> {
    let (each, all) = (top.take("each_other_path"), top.take("all_other_paths"));
    match (each, all) {
        (Some(_), Some(all)) => Err(all
            .path
            .is("there is `each_other_path` already: expected one of the two")),
        (Some(each), None) => Ok(Some(Others::Each(quota(each)?))),
        (None, Some(all)) => Ok(Some(Others::All(quota(all)?))),
        (None, None) => Ok(None),
    }
}

fn learning(at: Option<At>) -> Result<Learning, InvalidConfig> {
    let Some(at) = at else {
        return Ok(Learning::all());
    };
    if at.value == Value::Bool(false) {
        return Ok(Learning::none());
    }
    let mut section = at.section("false, or a table of what is learned")?;
    let mut learning = Learning::all();
    let fields = [
        ("concurrency", &mut learning.concurrency),
        ("margin", &mut learning.margin),
        ("rate", &mut learning.rate),
        ("quota_headers", &mut learning.quota_headers),
        ("discover", &mut learning.discover),
    ];
    for (key, field) in fields {
        if let Some(at) = section.take(key) {
            *field = at.bool()?;
        }
    }
    section.end()?;
    Ok(learning)
}
