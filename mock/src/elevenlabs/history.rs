//! What was spoken before.

use std::collections::VecDeque;

use serde_json::{Map, Value, json};

use super::{audio::Format, query::Query, schema::Errors};

/// How many items a workspace's history holds, so that a long load test does not eat up the memory.
const KEPT: usize = 1_000;

const PAGE: usize = 100;
const LARGEST_PAGE: i64 = 1_000;

#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) id: String,
    pub(super) request_id: String,
    pub(super) voice_id: String,
    pub(super) voice_name: String,
    pub(super) voice_category: &'static str,
    pub(super) model_id: String,
    pub(super) text: String,
    pub(super) settings: Map<String, Value>,
    pub(super) speed: f64,
    pub(super) format: Format,
    pub(super) format_name: String,
    pub(super) date_unix: u64,
    /// How many credits had been used before it, and after.
    pub(super) credits: (u64, u64),
}

/// A workspace's items, the oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct History(VecDeque<Item>);

/// Which items are asked for.
#[derive(Debug)]
pub(super) struct Wanted {
    page: usize,
    start_after: Option<String>,
    voice_id: Option<String>,
    model_id: Option<String>,
    search: Option<String>,
    source: Option<String>,
    before: Option<u64>,
    after: Option<u64>,
    oldest_first: bool,
}

impl Wanted {
    pub(super) fn of(query: &Query, errors: &mut Errors) -> Self {
        let page = query.integer(errors, "page_size", 1, LARGEST_PAGE);
        let mut time = |name| {
            let time = query.integer(errors, name, i64::MIN, i64::MAX)?;
            Some(u64::try_from(time).unwrap_or(0))
        };
        let (before, after) = (time("date_before_unix"), time("date_after_unix"));
        let direction = query.word(errors, "sort_direction", &["asc", "desc"]);
        let source = query.word(errors, "source", &["TTS", "STS"]);
        let text = |name| query.get(name).map(str::to_owned);
        Self {
            page: page.map_or(PAGE, |page| usize::try_from(page).unwrap_or(PAGE)),
            start_after: text("start_after_history_item_id"),
            voice_id: text("voice_id"),
            model_id: text("model_id"),
            search: text("search").map(|text| text.to_lowercase()),
            source: source.map(str::to_owned),
            before,
            after,
            oldest_first: direction == Some("asc"),
        }
    }

    fn takes(&self, item: &Item) -> bool {
        let same = |wanted: &Option<String>, own| wanted.as_deref().is_none_or(|id| id == own);
        same(&self.voice_id, item.voice_id.as_str())
            && same(&self.model_id, item.model_id.as_str())
            && same(&self.source, "TTS")
            && self.before.is_none_or(|before| item.date_unix < before)
            && self.after.is_none_or(|after| item.date_unix > after)
            && self.search.as_ref().is_none_or(|text| {
                let mut texts = [&item.text, &item.voice_name].into_iter();
                texts.any(|known| known.to_lowercase().contains(text))
            })
    }
}

impl History {
    pub(super) fn add(&mut self, item: Item) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back(item);
    }

    pub(super) fn get(&self, id: &str) -> Option<&Item> {
        // The newest first, since it is those that are asked for.
        self.0.iter().rev().find(|item| item.id == id)
    }

    /// Whether there was such an item.
    pub(super) fn remove(&mut self, id: &str) -> bool {
        let found = self.0.iter().rposition(|item| item.id == id);
        found.and_then(|at| self.0.remove(at)).is_some()
    }

    pub(super) fn page(&self, wanted: &Wanted) -> Value {
        let mut items: Vec<_> = self.0.iter().filter(|item| wanted.takes(item)).collect();
        if !wanted.oldest_first {
            items.reverse();
        }
        // After an item that is not there any more, there is nothing.
        let start = match &wanted.start_after {
            None => 0,
            Some(id) => {
                let found = items.iter().position(|item| item.id == *id);
                found.map_or(items.len(), |at| at + 1)
            }
        };
        let rest = &items[start..];
        let page = &rest[..wanted.page.min(rest.len())];
        let last = page.last();
        json!({
            "history": page.iter().map(|item| item.json()).collect::<Value>(),
            "last_history_item_id": last.map(|item| &item.id),
            "has_more": page.len() < rest.len(),
            "scanned_until": last.map(|item| item.date_unix),
        })
    }
}

impl Item {
    /// Every field that any client is known to insist on.
    pub(super) fn json(&self) -> Value {
        json!({
            "history_item_id": self.id,
            "request_id": self.request_id,
            "voice_id": self.voice_id,
            "model_id": self.model_id,
            "voice_name": self.voice_name,
            "voice_category": self.voice_category,
            "text": self.text,
            "date_unix": self.date_unix,
            "character_count_change_from": self.credits.0,
            "character_count_change_to": self.credits.1,
            "content_type": self.format.content_type().to_str().unwrap_or_default(),
            "state": "created",
            "settings": self.settings,
            "feedback": null,
            "share_link_id": null,
            "source": "TTS",
            "alignments": null,
            "dialogue": null,
            "output_format": self.format_name,
        })
    }
}

#[cfg(test)]
mod tests {
    use http::Uri;

    use super::*;

    fn item(n: usize) -> Item {
        Item {
            id: format!("item{n}"),
            request_id: String::new(),
            voice_id: format!("voice{}", n % 2),
            voice_name: "Rachel".into(),
            voice_category: "premade",
            model_id: "eleven_v3".into(),
            text: format!("Text {n}"),
            settings: Map::new(),
            speed: 1.0,
            format: Format::DEFAULT,
            format_name: "mp3_44100_128".into(),
            date_unix: n as u64,
            credits: (0, 1),
        }
    }

    fn history(n: usize) -> History {
        let mut history = History::default();
        (0..n).for_each(|n| history.add(item(n)));
        history
    }

    /// The ids' numbers on the page, and whether there is more.
    fn page(history: &History, query: &str) -> (Vec<usize>, bool) {
        let uri: Uri = format!("/?{query}").parse().unwrap();
        let mut errors = Errors::default();
        let page = history.page(&Wanted::of(&Query::of(&uri), &mut errors));
        assert!(errors.none().is_ok(), "{query}");
        let items = page["history"].as_array().unwrap();
        let ids = items.iter().map(|item| {
            let id = item["history_item_id"].as_str().unwrap();
            id["item".len()..].parse().unwrap()
        });
        (ids.collect(), page["has_more"].as_bool().unwrap())
    }

    #[test]
    fn pages_follow_each_other_the_newest_first() {
        let history = history(5);
        let next = "page_size=2&start_after_history_item_id=";
        assert_eq!(page(&history, "page_size=2"), (vec![4, 3], true));
        assert_eq!(page(&history, &format!("{next}item3")), (vec![2, 1], true));
        assert_eq!(page(&history, &format!("{next}item1")), (vec![0], false));
        assert_eq!(page(&history, &format!("{next}item9")), (vec![], false));
        assert_eq!(page(&history, "sort_direction=asc").0, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn items_are_found_by_what_they_are() {
        let history = history(5);
        assert_eq!(page(&history, "voice_id=voice1").0, [3, 1]);
        assert_eq!(page(&history, "model_id=other").0, [0; 0]);
        assert_eq!(page(&history, "search=TEXT+2").0, [2]);
        assert_eq!(page(&history, "source=STS").0, [0; 0]);
        assert_eq!(
            page(&history, "date_after_unix=1&date_before_unix=4").0,
            [3, 2]
        );
    }

    #[test]
    fn a_removed_item_is_gone() {
        let mut history = history(3);
        assert!(history.remove("item1"));
        assert!(!history.remove("item1"));
        assert!(history.get("item1").is_none());
        assert_eq!(page(&history, "").0, [2, 0]);
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let history = history(KEPT + 1);
        assert!(history.get("item0").is_none());
        assert!(history.get("item1").is_some());
    }
}
