//! The sources that are records of name servers: what is asked for them, and what answers mean.
//!
//! Names are looked up by the thread that follows all names; here its answers become lists. An
//! answer that is empty, fails or leads only where no server may be takes no server away.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::known::NameAnswer;
use super::question::{Question, Questions};
use super::source::{SourceAccount, Statement, UpstreamSources, outside_allow};
use super::{Entry, KnownName, Updates, dns, srv};
use crate::config::schema::discovery::{Elsewhere, RecordName};
use crate::config::schema::words::ServerAddress;

/// The records that sources are made of, with what each source has said. It is told by who learns
/// of answers.
#[derive(Debug, Default)]
pub(super) struct RecordSources(BTreeMap<Arc<str>, RecordSource>);

/// One of them.
#[derive(Debug)]
struct RecordSource {
    account: SourceAccount,
    question: Question,
    /// The answer that was told last.
    told: Option<Arc<NameAnswer>>,
}

impl RecordSources {
    /// Follows these sources, and others of other upstreams on.
    pub(super) fn add_sources(&mut self, sources: &UpstreamSources) {
        for (upstream, elsewhere) in sources {
            let known = self.0.get(upstream);
            if known.is_some_and(|known| known.account.is_of(elsewhere)) {
                continue;
            }
            match question_of(elsewhere) {
                Some((question, _)) => {
                    let account = SourceAccount::new(upstream.clone(), elsewhere.clone());
                    let source = RecordSource { account, question, told: None };
                    self.0.insert(upstream.clone(), source);
                }
                None => {
                    self.0.remove(upstream);
                }
            }
        }
    }

    /// Follows these sources and no others.
    pub(super) fn follow_only(&mut self, sources: &UpstreamSources) {
        self.0.retain(|upstream, _| sources.contains_key(upstream));
        self.add_sources(sources);
    }

    /// The question whose answer tells the servers of an upstream.
    #[must_use]
    pub(super) fn question_of(&self, upstream: &str) -> Option<&Question> {
        self.0.get(upstream).map(|source| &source.question)
    }

    /// Sends what answers say that nobody was told.
    pub(super) fn tell_answers(&mut self, known: &KnownName, updates: &Updates) {
        for source in self.0.values_mut() {
            let elsewhere = source.account.elsewhere().clone();
            let statement = match known.answer_to(&source.question) {
                Some(answer) => {
                    if source.told.as_ref().is_some_and(|told| Arc::ptr_eq(told, answer)) {
                        continue;
                    }
                    source.told = Some(answer.clone());
                    answer_statement(&elsewhere, answer)
                }
                None => {
                    let fault = format!("{}: no answer yet", source.question.name);
                    Statement { fault: Some(fault), ..Statement::default() }
                }
            };
            source.account.send_statement(statement, updates);
        }
    }
}

/// The question that a source asks, and the shortest and the longest pause between two look-ups;
/// `None` for a source that is made of something else.
fn question_of(elsewhere: &Elsewhere) -> Option<(Question, (Duration, Duration))> {
    let records = elsewhere.records.as_ref()?;
    let question = match elsewhere.source.record_name()? {
        RecordName::Host(address) => dns::name_question(address, records)?,
        RecordName::Service(name) => srv::srv_question(name, records),
    };
    Some((question, (records.min_ttl.get(), records.max_ttl.get())))
}

/// All that name servers are asked for sources.
#[must_use]
pub fn record_questions(sources: &UpstreamSources) -> Questions {
    let mut all = Questions::new();
    for (question, bounds) in sources.values().filter_map(|source| question_of(source)) {
        add_question(&mut all, question, bounds);
    }
    all
}

/// Adds a question; where it is asked already, the shorter pauses count.
pub fn add_question(all: &mut Questions, question: Question, bounds: (Duration, Duration)) {
    let known = all.entry(question).or_insert(bounds);
    *known = (known.0.min(bounds.0), known.1.min(bounds.1));
}

/// Returns what an answer says of the servers of an upstream.
fn answer_statement(elsewhere: &Elsewhere, answer: &NameAnswer) -> Statement {
    let (name, mut all) = match elsewhere.source.record_name() {
        Some(RecordName::Host(address)) => {
            (address.to_string(), dns::answer_entries(address, &answer.places))
        }
        Some(RecordName::Service(name)) => (name.to_owned(), srv::answer_entries(&answer.places)),
        None => return Statement::default(),
    };
    let mut refused = Vec::new();
    all.retain(|entry: &Entry| match &entry.address {
        ServerAddress::Ip(address) if !elsewhere.allows(*address) => {
            refused.push(address.ip().to_string());
            false
        }
        ServerAddress::Ip(_) | ServerAddress::Name { .. } | ServerAddress::Unix(_) => true,
    });
    let outside = (!refused.is_empty()).then(|| outside_allow(&refused));
    let why = answer.fault.as_deref().cloned().or(outside).or(answer.left_out.clone());
    Statement {
        entries: (!all.is_empty()).then(|| all.into()),
        fault: why.map(|why| format!("{name}: {why}")),
        ttl: answer.ttl,
    }
}

#[cfg(test)]
mod tests;
