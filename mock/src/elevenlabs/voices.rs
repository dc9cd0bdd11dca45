//! A workspace's list of voices.

use std::cmp::Ordering;

use serde_json::{Value, json};

use super::{
    query::Query,
    schema::{Errors, Loc},
    voice::{Category, Voice},
};

const PAGE: usize = 10;
const LARGEST_PAGE: i64 = 100;

const TYPES: [&str; 6] = [
    "personal",
    "community",
    "default",
    "workspace",
    "non-default",
    "saved",
];
const CATEGORIES: [&str; 4] = ["premade", "cloned", "generated", "professional"];
const TUNING_STATES: [&str; 6] = [
    "draft",
    "not_verified",
    "not_started",
    "queued",
    "fine_tuning",
    "fine_tuned",
];

/// Which voices are asked for.
#[derive(Debug)]
pub(super) struct Wanted {
    page: usize,
    after: Option<String>,
    search: Option<String>,
    by_name: Option<bool>,
    descending: bool,
    voice_type: Option<String>,
    category: Option<String>,
    /// Whether a property is asked for that no voice here has.
    impossible: bool,
    ids: Vec<String>,
    counted: bool,
}

impl Wanted {
    pub(super) fn of(query: &Query, errors: &mut Errors) -> Self {
        let text = |name| query.get(name).map(str::to_owned);
        let page = query.integer(errors, "page_size", 1, LARGEST_PAGE);
        let sort = query.word(errors, "sort", &["created_at_unix", "name"]);
        let descending = query.word(errors, "sort_direction", &["asc", "desc"]) == Some("desc");
        let voice_type = query.word(errors, "voice_type", &TYPES).map(str::to_owned);
        let category = query
            .word(errors, "category", &CATEGORIES)
            .map(str::to_owned);
        let tuning = query
            .word(errors, "fine_tuning_state", &TUNING_STATES)
            .is_some();
        let counted = query.boolean(errors, "include_total_count").unwrap_or(true);
        let ids: Vec<_> = query.all("voice_ids").map(str::to_owned).collect();
        if ids.len() > 100 {
            errors.list(&Loc::query("voice_ids"), &ids.clone().into(), 100);
        }
        Self {
            page: page.map_or(PAGE, |page| usize::try_from(page).unwrap_or(PAGE)),
            after: text("next_page_token").filter(|token| !token.is_empty()),
            search: text("search").filter(|text| !text.is_empty()),
            by_name: sort.map(|sort| sort == "name"),
            descending,
            voice_type,
            category,
            impossible: tuning || query.get("collection_id").is_some(),
            ids,
            counted,
        }
    }

    fn takes(&self, voice: &Voice) -> bool {
        let types: &[&str] = match voice.category {
            Category::Premade => &["default"],
            Category::Cloned => &["personal", "workspace", "non-default", "saved"],
            Category::Library => &["community", "non-default", "saved"],
        };
        let voice_type = self.voice_type.as_deref();
        let category = self.category.as_deref();
        !self.impossible
            && voice_type.is_none_or(|wanted| types.contains(&wanted))
            && category.is_none_or(|wanted| voice.category_name() == wanted)
            && self
                .search
                .as_deref()
                .is_none_or(|text| voice.is_about(text))
            && (self.ids.is_empty() || self.ids.contains(&voice.id))
    }

    fn order(&self, a: &Voice, b: &Voice) -> Ordering {
        let order = match self.by_name {
            None => return Ordering::Equal,
            Some(true) => a.name.to_lowercase().cmp(&b.name.to_lowercase()),
            Some(false) => a.created_unix.cmp(&b.created_unix),
        };
        if self.descending {
            order.reverse()
        } else {
            order
        }
    }
}

/// Everything, as the first version of the list answers.
pub(super) fn all<'a>(voices: impl Iterator<Item = &'a Voice>) -> Value {
    json!({"voices": voices.map(Voice::json).collect::<Value>()})
}

/// A page, as the second version answers.
pub(super) fn page<'a>(voices: impl Iterator<Item = &'a Voice>, wanted: &Wanted) -> Value {
    let mut voices: Vec<_> = voices.filter(|voice| wanted.takes(voice)).collect();
    // Stable: where the order is the same, it is that in which they were made.
    voices.sort_by(|a, b| wanted.order(a, b));
    // The token is opaque to clients. It names the last voice before, so that what is added or
    // removed meanwhile moves nothing else; if that voice itself is gone, there is no telling.
    let start = match &wanted.after {
        None => 0,
        Some(token) => {
            let found = voices.iter().position(|voice| voice.id == *token);
            found.map_or(voices.len(), |at| at + 1)
        }
    };
    let rest = &voices[start..];
    let page = &rest[..wanted.page.min(rest.len())];
    let has_more = page.len() < rest.len();
    let token = page.last().filter(|_| has_more).map(|voice| &voice.id);
    json!({
        "voices": page.iter().map(|voice| voice.json()).collect::<Value>(),
        "has_more": has_more,
        "total_count": if wanted.counted { voices.len() } else { 0 },
        "next_page_token": token,
    })
}

#[cfg(test)]
mod tests {
    use http::Uri;

    use super::*;

    fn voices() -> Vec<Voice> {
        let mut voices = vec![
            Voice::premade("p1", "Rachel"),
            Voice::premade("p2", "adam"),
            Voice::library("l1", "Zoe"),
            Voice::cloned("c1", "Narrator"),
            Voice::cloned("c2", "Butler"),
        ];
        for (n, voice) in voices.iter_mut().enumerate() {
            voice.created_unix = 100 - n as u64;
        }
        voices
    }

    fn ask(query: &str) -> Value {
        let uri: Uri = format!("/?{query}").parse().unwrap();
        let mut errors = Errors::default();
        let wanted = Wanted::of(&Query::of(&uri), &mut errors);
        assert!(errors.none().is_ok(), "{query}");
        page(voices().iter(), &wanted)
    }

    fn ids(query: &str) -> String {
        let answer = ask(query);
        let voices = answer["voices"].as_array().unwrap();
        let ids = voices
            .iter()
            .map(|voice| voice["voice_id"].as_str().unwrap());
        ids.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn voices_are_found_by_what_they_are() {
        assert_eq!(ids(""), "p1 p2 l1 c1 c2");
        assert_eq!(ids("search=ra"), "p1 c1");
        assert_eq!(ids("voice_type=default"), "p1 p2");
        assert_eq!(ids("voice_type=non-default"), "l1 c1 c2");
        assert_eq!(ids("category=cloned&search=b"), "c2");
        assert_eq!(ids("voice_ids=c2&voice_ids=p1"), "p1 c2");
        assert_eq!(ids("fine_tuning_state=draft"), "");
    }

    #[test]
    fn voices_are_sorted_as_asked() {
        assert_eq!(ids("sort=name"), "p2 c2 c1 p1 l1");
        assert_eq!(ids("sort=name&sort_direction=desc"), "l1 p1 c1 c2 p2");
        assert_eq!(ids("sort=created_at_unix"), "c2 c1 l1 p2 p1");
    }

    #[test]
    fn pages_follow_each_other_by_their_tokens() {
        let first = ask("page_size=2");
        assert_eq!(first["has_more"], true);
        assert_eq!(first["total_count"], 5);
        assert_eq!(first["next_page_token"], "p2");
        assert_eq!(ids("page_size=2&next_page_token=p2"), "l1 c1");
        let last = ask("page_size=2&next_page_token=c1&include_total_count=false");
        assert_eq!(last["voices"][0]["voice_id"], "c2");
        assert_eq!(last["has_more"], false);
        assert_eq!(last["total_count"], 0);
        assert_eq!(last["next_page_token"], Value::Null);
        assert_eq!(ids("next_page_token=gone"), "");
    }

    #[test]
    fn pages_that_are_too_large_are_complained_about() {
        let uri = Uri::from_static("/?page_size=101&category=mine");
        let mut errors = Errors::default();
        Wanted::of(&Query::of(&uri), &mut errors);
        let body = errors.answer();
        let body: Value = serde_json::from_slice(body.body()).unwrap();
        assert_eq!(body["detail"][0]["loc"], json!(["query", "page_size"]));
        assert_eq!(body["detail"][1]["type"], "enum");
    }
}
