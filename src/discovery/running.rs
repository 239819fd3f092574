//! The sources that run: each kind is started here, and hears here which servers a configuration
//! wants to know of.
//!
//! What they tell comes as [`Updates`]; who wants it and whether it is believed is not theirs to
//! know.

use std::io;
use std::time::Duration;

use super::file::Files;
use super::records::RecordSources;
use super::{KnownName, Question, Updates, UpstreamSources};

/// All sources of servers that the process asks, of whatever kind.
#[derive(Debug)]
pub struct RunningSources {
    /// The files with servers.
    files: Files,
    /// The records of name servers.
    records: RecordSources,
    updates: Updates,
}

impl RunningSources {
    /// Starts those that have threads. They follow nothing yet, and send what they find as
    /// `updates`.
    ///
    /// # Errors
    /// When a thread cannot be made.
    pub fn start_threads(updates: Updates) -> io::Result<Self> {
        let files = Files::start_thread(updates.clone())?;
        Ok(Self { files, records: RecordSources::default(), updates })
    }

    /// Follows these too, and waits for the first answer of those that read it themselves, for
    /// `most` at the longest.
    pub fn learn_sources(&mut self, sources: &UpstreamSources, most: Duration) {
        self.records.add_sources(sources);
        self.files.learn_files(sources.clone(), most);
    }

    /// Follows these and no others.
    pub fn follow_only(&mut self, sources: UpstreamSources) {
        self.records.follow_only(&sources);
        self.files.follow_only(sources);
    }

    /// Sends what answers of name servers say of servers, as other sources do by themselves.
    pub fn tell_answers(&mut self, known: &KnownName) {
        self.records.tell_answers(known, &self.updates);
    }

    /// Returns the question whose answer tells the servers of an upstream.
    #[must_use]
    pub fn question_of(&self, upstream: &str) -> Option<&Question> {
        self.records.question_of(upstream)
    }
}
