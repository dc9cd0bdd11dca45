use super::vendors::{Figure, Place, Standing, Vendor};
use crate::costs::{cost::Cost, json::Visit, unit::Unit};

/// The figures of one answer, as they come.
#[derive(Debug)]
pub(super) struct Figures {
    names: &'static [(&'static str, Figure)],
    places: &'static [Place],
    /// One to which the names lead that were entered. There may be others.
    towards: Option<&'static Place>,
    /// How many names of its path were entered.
    entered: usize,
    /// Those of the object of usage that is being read.
    read: Set,
    /// Those that are known. What one object leaves out stays as an earlier one had it.
    known: Set,
    /// What has been learned since it was last told.
    news: Units,
    /// What is told at the end.
    so_far: Units,
}

impl Figures {
    pub(super) fn new(vendor: &'static Vendor, places: &'static [Place]) -> Self {
        Self {
            names: vendor.figures,
            places,
            towards: None,
            entered: 0,
            read: Set::default(),
            known: Set::default(),
            news: Units::default(),
            so_far: Units::default(),
        }
    }

    /// The text ended within an object, and another text begins.
    pub(super) fn restart(&mut self) {
        self.entered = 0;
    }

    /// What has been learned since the last time.
    pub(super) fn news(&mut self) -> Option<Cost> {
        std::mem::take(&mut self.news).cost()
    }

    /// The answer is complete: what was so far is final.
    pub(super) fn end(&mut self) -> Option<Cost> {
        self.news.learn(self.so_far);
        self.news()
    }

    /// That whose object of usage is being read.
    fn place(&self) -> Option<&'static Place> {
        let is_complete = |place: &&Place| place.path.len() == self.entered;
        self.towards.filter(is_complete)
    }

    fn learn(&mut self, standing: Standing) {
        if self.read.is_empty() {
            return;
        }
        self.known.learn(&self.read, standing);
        let units = self.known.units();
        let input = Units {
            input: units.input,
            ..Units::default()
        };
        match standing {
            Standing::Final => self.news.learn(units),
            Standing::Beginning => self.news.learn(input),
            Standing::SoFar => {
                self.news.learn(input);
                self.so_far.learn(units);
            }
        }
    }
}

impl Visit for Figures {
    fn enter(&mut self, name: &[u8]) -> bool {
        let entered = self
            .towards
            .map_or(&[][..], |place| &place.path[..self.entered]);
        let leads_there = |place: &&Place| {
            let rest = place.path.strip_prefix(entered);
            rest.and_then(|rest| rest.first())
                .is_some_and(|next| next.as_bytes() == name)
        };
        let Some(place) = self.places.iter().find(leads_there) else {
            return false;
        };
        self.towards = Some(place);
        self.entered += 1;
        self.read = Set::default();
        true
    }

    fn number(&mut self, name: &[u8], n: u64) {
        if self.place().is_none() {
            return;
        }
        let figure = self.names.iter().find(|(of, _)| of.as_bytes() == name);
        if let Some(&(_, figure)) = figure {
            self.read.raise(figure, n);
        }
    }

    fn leave(&mut self) {
        if let Some(place) = self.place() {
            self.learn(place.standing);
        }
        self.entered -= 1;
    }
}

/// At most one number for each [`Figure`].
#[derive(Clone, Copy, Debug, Default)]
struct Set([Option<u64>; Figure::ALL.len()]);

impl Set {
    fn get(&self, figure: Figure) -> Option<u64> {
        self.0[figure as usize]
    }

    fn raise(&mut self, figure: Figure, n: u64) {
        let known = &mut self.0[figure as usize];
        *known = (*known).max(Some(n));
    }

    fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    fn learn(&mut self, read: &Self, standing: Standing) {
        for figure in Figure::ALL {
            let (known, read) = (&mut self.0[figure as usize], read.get(figure));
            match figure {
                Figure::Input | Figure::MoreInput => *known = read.or(*known),
                _ if standing == Standing::Beginning => {}
                Figure::Output | Figure::MoreOutput => *known = read.or(*known),
                // An old total is not that of the new figures.
                Figure::Total => *known = read,
            }
        }
    }

    /// Does not overflow: [`json`](crate::costs::json) gives no number that is great enough.
    fn sum(&self, one: Figure, more: Figure) -> Option<u64> {
        match (self.get(one), self.get(more)) {
            (None, None) => None,
            (one, more) => Some(one.unwrap_or(0) + more.unwrap_or(0)),
        }
    }

    fn units(&self) -> Units {
        let total = self.get(Figure::Total);
        let input = self.sum(Figure::Input, Figure::MoreInput);
        // As stated, or what the total leaves: embeddings state no output, and Gemini leaves out what is 0.
        let output = self
            .sum(Figure::Output, Figure::MoreOutput)
            .or_else(|| total?.checked_sub(input?));
        let are_known = total.is_some() || (input.is_some() && output.is_some());
        // The sum, or the total if that is greater: some servers leave it at 0.
        let sum = input.unwrap_or(0) + output.unwrap_or(0);
        let tokens = are_known.then(|| sum.max(total.unwrap_or(0)));
        Units {
            input,
            output,
            tokens,
        }
    }
}

/// The same in the units that windows count.
#[derive(Clone, Copy, Debug, Default)]
struct Units {
    input: Option<u64>,
    output: Option<u64>,
    tokens: Option<u64>,
}

impl Units {
    fn learn(&mut self, later: Self) {
        self.input = later.input.or(self.input);
        self.output = later.output.or(self.output);
        self.tokens = later.tokens.or(self.tokens);
    }

    fn cost(self) -> Option<Cost> {
        let units = [
            (Unit::INPUT_TOKENS, self.input),
            (Unit::OUTPUT_TOKENS, self.output),
            (Unit::TOKENS, self.tokens),
        ];
        let known = units
            .into_iter()
            .filter_map(|(unit, n)| n.map(|n| (unit, n)));
        let cost = known.fold(Cost::new(), |cost, (unit, n)| cost.of(unit, n));
        (!cost.is_empty()).then_some(cost)
    }
}
