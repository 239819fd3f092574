//! Why a client is not let in, and what it is told.

use std::fmt::{self, Display};

use crate::exchange::Refusal;
use crate::policy::forward_auth::JudgePage;
use crate::policy::jwt::TokenFault;
use crate::policy::way_in::{Auth, Challenged, WayIn};

/// The reason why a way in does not let a client in, and what the client is told.
pub(super) struct Denial {
    /// A word for counters.
    pub(super) reason: &'static str,
    /// For operators.
    pub(super) why: Why,
    /// The configuration key that would change it.
    pub(super) key: &'static str,
    pub(super) told: EntryAnswer,
    /// The client as it is told how to get in that way, if it is told.
    pub(super) challenged: Option<Challenged>,
    /// The further fields of the answer.
    pub(super) fields: Vec<(&'static [u8], Vec<u8>)>,
    /// The token may be signed with a key that is not known yet.
    pub(super) may_be_new_key: bool,
}

pub(super) enum Why {
    Text(&'static str),
    Token(TokenFault),
    Made(String),
}

impl Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Text(text) => f.write_str(text),
            Why::Token(denied) => denied.fmt(f),
            Why::Made(text) => f.write_str(text),
        }
    }
}

/// The answer to a client that is not let in.
pub(super) enum EntryAnswer {
    /// The proxy's own.
    Refusal(Refusal),
    /// A status that an authentication server gave, without its page.
    Status(u16),
    /// That server's page.
    Page(Box<JudgePage>),
}

impl Denial {
    pub(super) fn new(reason: &'static str, why: Why, key: &'static str, refusal: Refusal) -> Self {
        let (told, fields) = (EntryAnswer::Refusal(refusal), Vec::new());
        Self { reason, why, key, told, challenged: None, fields, may_be_new_key: false }
    }

    pub(super) fn with_challenge(self, challenged: Challenged) -> Self {
        Self { challenged: Some(challenged), ..self }
    }

    /// Returns which denial is the answer, where there are several: that nobody can tell at the
    /// moment, then where to go to get in, then that a known client may not, then that it is not
    /// known. A 403 of a server that is asked may mean either, and gives way to who says how to get
    /// in (as with nginx's `satisfy any`).
    pub(super) fn rank_for(&self, way: &WayIn) -> u8 {
        let asked = matches!(way.auth, Auth::Forward(_));
        match &self.told {
            EntryAnswer::Refusal(Refusal::AuthUnavailable) => 5,
            EntryAnswer::Refusal(Refusal::RateLimited) => 4,
            EntryAnswer::Refusal(Refusal::NotAllowed) if !asked => 2,
            EntryAnswer::Refusal(Refusal::NotAllowed) => 0,
            EntryAnswer::Page(page) if page.status == 403 => 0,
            EntryAnswer::Page(page) if page.status == 401 => 1,
            EntryAnswer::Page(_) | EntryAnswer::Status(_) => 3,
            EntryAnswer::Refusal(_) => 1,
        }
    }

    pub(super) fn answer_status(&self) -> u16 {
        match &self.told {
            EntryAnswer::Refusal(refusal) => refusal.row().status,
            EntryAnswer::Status(status) => *status,
            EntryAnswer::Page(page) => page.status,
        }
    }
}
