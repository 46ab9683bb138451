//! The check of a run: every event exactly once and in order, or a reset that a loss explains.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::atomic::Ordering::SeqCst,
};

use http_sse::hub::Position;

use super::truth::{Id, Outcome, Reset, Truth};

/// The counts of a run.
#[derive(Default)]
pub(super) struct Verdict {
    faults: usize,
    stored: usize,
    unknown: usize,
    not_written: usize,
    /// Publications with a key that were repeated.
    repeated: u64,
    /// Acknowledged events that the log lost.
    lost: usize,
    resets: usize,
    /// Second resets of a client for one loss, by a node that found out about it later.
    by_late_nodes: usize,
    /// Second resets of a client for one loss, because the log does not have its last event ID. It
    /// got the id from a node that had not found out.
    with_lost_ids: usize,
}

impl Truth {
    /// Checks everything that was recorded. Returns also what is not explained.
    pub(super) fn check(&self) -> (Verdict, Vec<String>) {
        let outcomes = self.outcomes.lock().unwrap();
        let entries = self.entries.lock().unwrap();
        let count = |wanted: fn(&Outcome) -> bool| {
            let outcomes = outcomes.values().flatten();
            outcomes.filter(|outcome| wanted(outcome)).count()
        };
        let mut verdict = Verdict {
            stored: count(|outcome| matches!(outcome, Outcome::Stored(_))),
            unknown: count(|outcome| *outcome == Outcome::Unknown),
            not_written: count(|outcome| *outcome == Outcome::NotWritten),
            repeated: self.repeats.load(SeqCst),
            lost: entries
                .values()
                .filter(|entry| entry.is_acknowledged && entry.is_lost)
                .count(),
            ..Verdict::default()
        };
        let mut violations = Vec::new();
        let mut seen = BTreeSet::new();
        for (at, id) in entries.keys() {
            if !seen.insert(*at) {
                violations.push(format!("{id} at {at} is not the only one there"));
            }
            match outcomes.get(id) {
                Some(Some(Outcome::NotWritten)) => {
                    violations.push(format!("{id} at {at} was not written, and was seen"));
                }
                Some(_) => {}
                None => violations.push(format!("{id} at {at} was never published")),
            }
        }
        drop(outcomes);
        let mut positions: BTreeMap<Id, Vec<(Position, bool)>> = BTreeMap::new();
        for ((at, id), entry) in &*entries {
            let positions = positions.entry(*id).or_default();
            positions.push((*at, entry.is_lost));
        }
        drop(entries);
        for skip in &*self.skips.lock().unwrap() {
            for number in skip.missing.clone() {
                let missing = Id { number, ..skip.id };
                let positions = positions.get(&missing).into_iter().flatten();
                for (at, is_lost) in positions {
                    if !is_lost && skip.after.is_none_or(|after| *at > after) {
                        violations.push(format!("{missing} at {at} is missing: {skip}"));
                    }
                }
            }
        }
        self.explain_resets(&mut verdict, &mut violations);
        (verdict, violations)
    }

    /// Finds the loss that explains each reset.
    fn explain_resets(&self, verdict: &mut Verdict, violations: &mut Vec<String>) {
        let faults = self.faults.lock().unwrap();
        verdict.faults = faults.len();
        let trims = self.trims.lock().unwrap();
        let entries = self.entries.lock().unwrap();
        let mut explained: BTreeMap<(usize, usize), Vec<&Reset>> = BTreeMap::new();
        let resets = self.resets.lock().unwrap();
        verdict.resets = resets.len();
        for reset in &*resets {
            let mut losses = faults.iter().enumerate().filter(|(_, fault)| {
                let is_loss = fault.lost > 0 || fault.kind.trims();
                is_loss && fault.begin <= reset.time && reset.last_read <= fault.end
            });
            let Some((index, fault)) = losses.next_back() else {
                violations.push(format!("{reset}"));
                continue;
            };
            let earlier = explained.entry((reset.client, index)).or_default();
            let is_trimmed = trims.iter().any(|(time, first)| {
                *time <= reset.time && reset.after.is_some_and(|after| after < *first)
            });
            let is_lost = entries
                .iter()
                .any(|((at, _), entry)| reset.after == Some(*at) && entry.is_lost);
            if !earlier.is_empty() {
                if reset.is_late {
                    verdict.by_late_nodes += 1;
                } else if is_lost || is_trimmed {
                    verdict.with_lost_ids += 1;
                } else {
                    let kind = fault.kind;
                    let first = earlier[0];
                    violations.push(format!("{reset}, the second time in {kind:?}: {first}"));
                }
            }
            earlier.push(reset);
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            faults,
            stored,
            unknown,
            not_written,
            repeated,
            lost,
            resets,
            by_late_nodes,
            with_lost_ids,
        } = self;
        write!(
            f,
            "{faults} faults, {stored} events stored ({lost} of them lost by the log), {unknown} \
             unknown, {not_written} not written, {repeated} repeats, {resets} resets (second ones for \
             a loss: {by_late_nodes} by late nodes, {with_lost_ids} with lost ids)"
        )
    }
}
