//! What an ask must be like, so that the decision need not look.

use std::{collections::HashSet, fmt};

use crate::protocol::{Ask, Leaf, MOST, MOST_AGES, REQUESTS, Scope};

/// How many scopes a call may name: Lua hands them to Redis as arguments, of which it takes 8000.
const MOST_SCOPES: usize = 7000;

/// An ask that makes no sense: it was not looked at any further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidAsk(String);

impl fmt::Display for InvalidAsk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid ask: {}", self.0)
    }
}

impl std::error::Error for InvalidAsk {}

/// Fails with a text unless the condition holds.
macro_rules! ensure {
    ($holds:expr, $($text:tt)*) => {
        if !$holds {
            return Err(InvalidAsk(format!($($text)*)));
        }
    };
}

/// Whether a store may look at it.
///
/// # Errors
/// Names what is wrong and what was expected.
pub(crate) fn check(ask: &Ask) -> Result<(), InvalidAsk> {
    let plain = |c: char| c.is_ascii_digit() || c.is_ascii_lowercase();
    ensure!(
        (1..=64).contains(&ask.member.len()) && ask.member.chars().all(plain),
        "member `{}`: expected 1 to 64 characters of 0-9 and a-z",
        ask.member
    );
    number("seq", ask.seq)?;
    ensure!(
        ask.units.first().is_some_and(|unit| unit == REQUESTS),
        "units {:?}: expected `{REQUESTS}` first",
        ask.units
    );
    for (index, unit) in ask.units.iter().enumerate() {
        ensure!(!unit.is_empty(), "unit {index} has no name");
        ensure!(
            !ask.units[..index].contains(unit),
            "unit `{unit}` is named twice"
        );
    }
    if let Some(since) = ask.since {
        number("since.sent", since.sent)?;
        number("since.heard", since.heard)?;
    }
    ensure!(
        ask.scopes.len() <= MOST_SCOPES,
        "{} scopes: expected at most {MOST_SCOPES} in a call",
        ask.scopes.len()
    );
    let mut names = HashSet::new();
    for scope in &ask.scopes {
        check_scope(ask, scope)?;
        ensure!(
            names.insert(&scope.name),
            "scope `{}` is named twice",
            scope.name
        );
    }
    for (index, leaf) in ask.leaves.iter().enumerate() {
        check_leaf(ask, leaf)?;
        let twice = ask.leaves[..index]
            .iter()
            .any(|other| other.leaf == leaf.leaf);
        ensure!(!twice, "leaf {} is reported twice", leaf.leaf);
    }
    for release in &ask.releases {
        number("a release's id", release.id)?;
        indices("a release", &release.scopes, ask)?;
        costs("a release", release.costs.as_deref().unwrap_or(&[]))?;
    }
    for back in &ask.back {
        number("a give-back's reservation", back.reservation)?;
        indices("a give-back", &back.scopes, ask)?;
        costs("a give-back", &back.costs)?;
    }
    for settlement in &ask.settlements {
        indices("a settlement", &settlement.scopes, ask)?;
        number("a settlement's change", settlement.change.saturating_abs())?;
        ensure!(
            settlement.unit < ask.units.len(),
            "a settlement's unit {}: there are {}",
            settlement.unit,
            ask.units.len()
        );
    }
    for stamp in &ask.stamps {
        indices("a stamp", &stamp.scopes, ask)?;
        number("a stamp's age", stamp.age)?;
        costs("a stamp", &stamp.costs)?;
    }
    Ok(())
}

fn check_scope(ask: &Ask, scope: &Scope) -> Result<(), InvalidAsk> {
    let Scope { name, .. } = scope;
    ensure!(
        (1..=512).contains(&name.len()),
        "scope `{name}`: expected a name of 1 to 512 bytes, not {}",
        name.len()
    );
    for (index, window) in scope.windows.iter().enumerate() {
        let what = format!("scope `{name}`, window {} of {}", window.rank, window.unit);
        ensure!(
            ask.units.contains(&window.unit),
            "{what}: no such unit in {:?}",
            ask.units
        );
        let same = |other: &crate::protocol::Window| {
            other.unit == window.unit && other.rank == window.rank
        };
        ensure!(
            !scope.windows[..index].iter().any(same),
            "{what} is there twice"
        );
        positive(&format!("{what}: n"), window.n)?;
        positive(&format!("{what}: learned"), window.learned.unwrap_or(1))?;
        positive(&format!("{what}: period"), window.period)?;
        number(&format!("{what}: rank"), window.rank)?;
        number(&format!("{what}: margin"), window.margin)?;
        number(&format!("{what}: learned margin"), window.learned_margin)?;
    }
    positive(
        &format!("scope `{name}`: permits"),
        scope.permits.unwrap_or(1),
    )?;
    positive(
        &format!("scope `{name}`: learned permits"),
        scope.learned_permits.unwrap_or(1),
    )?;
    number(&format!("scope `{name}`: holds"), scope.holds)?;
    number(&format!("scope `{name}`: pause"), scope.pause.unwrap_or(0))?;
    for hold in scope.keep.iter().flatten() {
        number("a hold's permits", hold.permits)?;
        costs("a hold", &hold.costs)?;
    }
    for lesson in &scope.lessons {
        ensure!(
            (1..=64).contains(&lesson.subject.len()),
            "lesson about `{}`: expected a subject of 1 to 64 bytes",
            lesson.subject
        );
        number("a lesson's value", lesson.value.saturating_abs())?;
    }
    Ok(())
}

fn check_leaf(ask: &Ask, leaf: &Leaf) -> Result<(), InvalidAsk> {
    let what = format!("leaf {}", leaf.leaf);
    number(&what, leaf.leaf)?;
    number(&format!("{what}: class"), leaf.class)?;
    indices(&what, &leaf.scopes, ask)?;
    let (heads, listed) = (leaf.heads.len(), leaf.ages.len());
    ensure!(
        listed <= MOST_AGES,
        "{what}: {listed} ages, expected at most {MOST_AGES}"
    );
    let waiting = usize::try_from(leaf.waiting).unwrap_or(usize::MAX);
    ensure!(
        waiting >= listed && (waiting > 0) == (heads > 0),
        "{what}: {waiting} wait, with {listed} ages and {heads} heads"
    );
    // The youngest's age is no head's.
    let ages = if waiting > listed {
        listed.saturating_sub(1)
    } else {
        listed
    };
    ensure!(
        heads <= ages,
        "{what}: {heads} heads, and {ages} ages for them"
    );
    ensure!(
        leaf.ages.is_sorted_by(|older, younger| older >= younger),
        "{what}: ages {:?}, expected the oldest first",
        leaf.ages
    );
    for age in &leaf.ages {
        number(&format!("{what}: age"), *age)?;
    }
    costs(&format!("{what}: totals"), &leaf.totals)?;
    number(&format!("{what}: permits"), leaf.permits.unwrap_or(0))?;
    number(&format!("{what}: waiting"), leaf.waiting)?;
    for head in &leaf.heads {
        number("a head's id", head.id)?;
        number("a head's permits", head.permits.unwrap_or(1))?;
        costs("a head", &head.costs)?;
    }
    Ok(())
}

fn indices(what: &str, scopes: &[usize], ask: &Ask) -> Result<(), InvalidAsk> {
    for (position, &index) in scopes.iter().enumerate() {
        ensure!(
            index < ask.scopes.len() && !scopes[..position].contains(&index),
            "{what}: scopes {scopes:?}, expected different ones of {}",
            ask.scopes.len()
        );
    }
    Ok(())
}

fn costs(what: &str, costs: &[i64]) -> Result<(), InvalidAsk> {
    costs
        .iter()
        .try_for_each(|cost| number(&format!("{what}: cost"), *cost))
}

fn number(what: &str, value: i64) -> Result<(), InvalidAsk> {
    ensure!(
        (0..=MOST).contains(&value),
        "{what} {value}: expected 0 to {MOST}"
    );
    Ok(())
}

fn positive(what: &str, value: i64) -> Result<(), InvalidAsk> {
    ensure!(
        (1..=MOST).contains(&value),
        "{what} {value}: expected 1 to {MOST}"
    );
    Ok(())
}
