//! `files`: a folder is served.
//!
//! Looking for a file and reading it is done aside ([`served`]); what is sent is decided here: the
//! type, the form that the client accepts, what its conditions and ranges leave of it
//! ([`conditions`]).

pub(super) mod conditions;

use percent_encoding::percent_decode;

use self::conditions::{FileShare, Validators, choose_share};
use super::answer::OwnAnswer;
use super::turned::keep_on_host;
use super::{MatchedRoute, WalkEnd, answer};
use crate::clock;
use crate::exchange::accept::parse_weight;
use crate::exchange::identity::client_network;
use crate::exchange::outcome::Halt;
use crate::exchange::refusal::FileFault;
use crate::exchange::{Client, Emit, Length, Outcome, Outgoing, Refusal, pump};
use crate::files::served::{self, NoFile, PIECE, ServedFile, WantedFile};
use crate::net::Timer;
use crate::net::stalls::Stall;
use crate::policy::effects::PolicyEffects;
use crate::snapshot::route::Files;
use crate::wire::head::{Fields, list_items};

/// A file that was found, and how it is answered with.
struct FoundFile {
    file: ServedFile,
    /// The first bytes.
    piece: Vec<u8>,
    kind: String,
    coding: Option<&'static str>,
    validators: Validators,
}

/// An answer with a file, parts of one, or none of it.
struct FileAnswer<'f> {
    files: &'f Files,
    found: &'f FoundFile,
    status: u16,
    pieces: &'f [FilePiece],
}

/// A piece of a body.
enum FilePiece {
    /// Bytes of the proxy's own.
    Text(Vec<u8>),
    /// So many bytes of the file, from one on.
    Part(u64, u64),
}

impl<'a> MatchedRoute<'a, '_> {
    /// Answers with a file.
    pub(super) async fn serve_file<C: Client>(
        &self,
        files: &Files,
        effects: &mut PolicyEffects<'a>,
        client: &mut C,
        timer: &mut Timer,
    ) -> Result<WalkEnd, Refusal> {
        let head = self.ex.head;
        let head_request = head.method() == b"HEAD";
        if !head_request && head.method() != b"GET" {
            effects.made.push((b"allow", b"GET, HEAD"[..].into()));
            return Err(Refusal::File(FileFault::Method));
        }
        let rewritten = self.rewritten_path()?;
        let path = if rewritten.is_empty() { self.target.path() } else { &rewritten };
        // The folder that the route is for, written without its slash: what a page in it names
        // would be looked for beside it.
        let asked = self.target.path();
        let lacks_slash = path.ends_with(b"/") && !asked.ends_with(b"/");
        if lacks_slash
            && files.starts.iter().any(|start| start.divide_path(asked) == Some((asked, b"")))
        {
            return Ok(self.to_folder(effects, client, timer).await);
        }
        let (codings, suffixes) = files.accepted_forms(&head.fields);
        let who = self.identity.client.map(client_network).unwrap_or_default();
        let found = match find_file(files, who, path, suffixes.clone()).await {
            Err(NoFile::Missing) => match &files.fallback {
                // What stands in for what is missing is a file: a folder of that name is not the
                // one that was asked for.
                Some(fallback) => {
                    match find_file(files, who, fallback.as_bytes(), suffixes).await {
                        Err(NoFile::Folder) => Err(NoFile::Missing),
                        found => found,
                    }
                }
                None => Err(NoFile::Missing),
            },
            found => found,
        };
        let (file, piece) = match found {
            Ok(found) => found,
            Err(NoFile::Folder) => return Ok(self.to_folder(effects, client, timer).await),
            Err(no_file) => {
                effects.cause.set_cause(served::reason_text(no_file), Some("route.files.root"));
                return Err(match no_file {
                    NoFile::Forbidden => Refusal::File(FileFault::Forbidden),
                    NoFile::Unavailable => Refusal::File(FileFault::Unavailable),
                    NoFile::Missing | NoFile::Folder => Refusal::File(FileFault::Missing),
                });
            }
        };
        let coding = file.variant.and_then(|n| codings.get(n)).copied();
        let kind = media_type(&file);
        let validators = Validators::new((file.length, coding), file.modified, clock::wall());
        let found = FoundFile { file, piece, kind, coding, validators };
        let share = choose_share(&head.fields, &found.validators, found.file.length, head_request);
        match share {
            FileShare::Failed => Err(Refusal::File(FileFault::Changed)),
            FileShare::Unsatisfiable => {
                let range = format!("bytes */{}", found.file.length);
                effects.made.push((b"content-range", range.into_bytes().into()));
                Err(Refusal::File(FileFault::Range))
            }
            FileShare::NotModified => {
                let answer = FileAnswer { files, found: &found, status: 304, pieces: &[] };
                Ok(self.send_file(answer, effects, client, timer).await)
            }
            FileShare::Whole => {
                let whole = [FilePiece::Part(0, found.file.length)];
                let answer = FileAnswer { files, found: &found, status: 200, pieces: &whole };
                Ok(self.send_file(answer, effects, client, timer).await)
            }
            FileShare::Parts(parts) => {
                let pieces = self.plan_pieces(&parts, &found);
                let answer = FileAnswer { files, found: &found, status: 206, pieces: &pieces };
                Ok(self.send_file(answer, effects, client, timer).await)
            }
        }
    }

    /// 301 to the same path with a slash at its end.
    async fn to_folder<C: Client>(
        &self,
        effects: &PolicyEffects<'_>,
        client: &mut C,
        timer: &mut Timer,
    ) -> WalkEnd {
        let mut location = [self.target.path(), b"/"].concat();
        keep_on_host(&mut location);
        if let Some(query) = self.target.query() {
            location.push(b'?');
            location.extend_from_slice(query);
        }
        let added: Vec<(&[u8], &[u8])> = effects.response_fields().collect();
        let answer = OwnAnswer {
            status: 301,
            fields: &[(b"location", &location)],
            body: b"",
            head_request: self.ex.head.method() == b"HEAD",
            edits: Some(&self.route.response_edits),
            added: &added,
            refusal: false,
        };
        let outcome = answer::send_answer(client, timer, &answer, self.ex.listener.write_gap).await;
        WalkEnd::from_outcome(outcome, 301)
    }

    /// Returns what an answer with parts is put together from: one part alone, or several with a
    /// head each (RFC 9110 §14.6).
    fn plan_pieces(&self, parts: &[(u64, u64)], found: &FoundFile) -> Vec<FilePiece> {
        if let [(first, last)] = parts {
            return vec![FilePiece::Part(*first, last - first + 1)];
        }
        let (kind, length, boundary) = (&found.kind, found.file.length, self.draw_boundary());
        let mut pieces = Vec::new();
        for (first, last) in parts {
            let head = format!(
                "\r\n--{boundary}\r\ncontent-type: {kind}\r\ncontent-range: bytes {first}-{last}/{length}\r\n\r\n"
            );
            pieces.push(FilePiece::Text(head.into_bytes()));
            pieces.push(FilePiece::Part(*first, last - first + 1));
        }
        pieces.push(FilePiece::Text(format!("\r\n--{boundary}--\r\n").into_bytes()));
        pieces
    }

    /// Returns what stands between parts; no file can know it beforehand.
    fn draw_boundary(&self) -> String {
        self.ex
            .worker
            .draw_random(|random| format!("{:016x}{:016x}", random.next_u64(), random.next_u64()))
    }

    async fn send_file<C: Client>(
        &self,
        answer: FileAnswer<'_>,
        effects: &PolicyEffects<'_>,
        client: &mut C,
        timer: &mut Timer,
    ) -> WalkEnd {
        let FileAnswer { files, found, status, pieces } = answer;
        let FoundFile { file, piece: _, kind, coding, validators } = found;
        let total: u64 = pieces.iter().map(FilePiece::byte_length).sum();
        let several = pieces.len() > 1;
        let kind = match pieces.first() {
            Some(FilePiece::Text(head)) => multipart_type(head),
            _ => kind.clone(),
        };
        let range = match pieces {
            [FilePiece::Part(first, length)] if status == 206 => {
                Some(format!("bytes {first}-{}/{}", first + length - 1, file.length))
            }
            _ => None,
        };
        let modified = httpdate::fmt_http_date(validators.modified);
        let mut fields: Vec<(&[u8], &[u8])> = Vec::new();
        if status != 304 {
            fields.push((b"content-type", kind.as_bytes()));
            fields.push((b"accept-ranges", b"bytes"));
        }
        if let Some(coding) = coding.filter(|_| status != 304) {
            fields.push((b"content-encoding", coding.as_bytes()));
        }
        if let Some(range) = range.as_ref().filter(|_| !several) {
            fields.push((b"content-range", range.as_bytes()));
        }
        fields.push((b"etag", validators.etag.as_bytes()));
        fields.push((b"last-modified", modified.as_bytes()));
        if !files.precompressed.is_empty() {
            fields.push((b"vary", b"accept-encoding"));
        }
        let head_request = self.ex.head.method() == b"HEAD";
        let edits = &self.route.response_edits;
        client.begin_response(&Outgoing {
            status,
            reason: b"",
            fields: &|out: &mut dyn Emit| {
                for (name, value) in fields.iter().filter(|(name, _)| !edits.hides_field(name)) {
                    out.emit_field(name, value);
                }
                if !edits.hides_field(b"date") {
                    clock::with_http_date(|date| out.emit_field(b"date", date));
                }
                effects.response_fields().for_each(|(name, value)| out.emit_field(name, value));
                edits.written_fields().for_each(|(name, value)| out.emit_field(name, value));
            },
            length: match status {
                304 => Length::Bodiless(None),
                _ if head_request => Length::Bodiless(Some(total)),
                _ => Length::Known(total),
            },
        });
        let pieces = if head_request { &[] } else { pieces };
        let outcome = self.send_pieces(found, pieces, client, timer).await;
        if outcome != Outcome::Whole {
            client.cut_response();
        }
        WalkEnd::from_outcome(outcome, status)
    }

    async fn send_pieces<C: Client>(
        &self,
        found: &FoundFile,
        pieces: &[FilePiece],
        client: &mut C,
        timer: &mut Timer,
    ) -> Outcome {
        let gap = self.ex.listener.write_gap;
        let (mut memory, mut stall) = (Vec::new(), Stall::default());
        for piece in pieces {
            let (mut at, mut left) = match piece {
                FilePiece::Text(text) => {
                    let sent = pump::write_bytes(client, &mut stall, timer, text, gap).await;
                    if let Err(outcome) = sent {
                        return outcome;
                    }
                    continue;
                }
                FilePiece::Part(first, length) => (*first, *length),
            };
            while left > 0 {
                let most = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
                let known = usize::try_from(at).ok().and_then(|at| found.piece.get(at..));
                let known = known.filter(|known| !known.is_empty());
                let bytes: &[u8] = if let Some(known) = known {
                    known.get(..most).unwrap_or(known)
                } else {
                    match found.file.read_piece(at, most, std::mem::take(&mut memory)).await {
                        Ok(read) => memory = read,
                        // What is left of it is not what was announced.
                        Err(_) => {
                            return Outcome::ProxyCut(Halt::Refusal(Refusal::File(
                                FileFault::Unavailable,
                            )));
                        }
                    }
                    &memory
                };
                let sent = pump::write_bytes(client, &mut stall, timer, bytes, gap).await;
                if let Err(outcome) = sent {
                    return outcome;
                }
                at += bytes.len() as u64;
                left -= bytes.len() as u64;
            }
        }
        pump::send_bytes(client, timer, &[], gap).await
    }
}

impl FilePiece {
    fn byte_length(&self) -> u64 {
        match self {
            FilePiece::Text(text) => text.len() as u64,
            FilePiece::Part(_, length) => *length,
        }
    }
}

/// Looks for a file below the folder.
async fn find_file(
    files: &Files,
    client: [u8; 8],
    path: &[u8],
    suffixes: Vec<&'static str>,
) -> Result<(ServedFile, Vec<u8>), NoFile> {
    let Some(below) = path.strip_prefix(b"/") else { return Err(NoFile::Missing) };
    let folder = below.is_empty() || below.ends_with(b"/");
    let below = below.strip_suffix(b"/").unwrap_or(below);
    let segments = below.split(|byte| *byte == b'/').filter(|_| !below.is_empty());
    let wanted = WantedFile {
        root: files.root.clone(),
        segments: segments.map(|segment| percent_decode(segment).collect()).collect(),
        folder,
        index: files.index.clone(),
        suffixes,
        client,
    };
    served::find_file(wanted).await
}

impl Files {
    /// The forms of a file that the client accepts, the best first, by coding and by suffix.
    fn accepted_forms(&self, request: &Fields) -> (Vec<&'static str>, Vec<&'static str>) {
        if self.precompressed.is_empty() {
            return Default::default();
        }
        let of = |name: &[u8]| {
            let items = request.named(b"accept-encoding").flat_map(list_items);
            let mut weights = items.filter_map(|item| {
                let mut parts = item.split(|byte| *byte == b';');
                let known = parts.next().unwrap_or_default().trim_ascii();
                known.eq_ignore_ascii_case(name).then(|| parse_weight(parts))
            });
            weights.next()
        };
        let (any, identity) = (of(b"*").unwrap_or(0), of(b"identity").unwrap_or(1));
        let weighted = self
            .precompressed
            .iter()
            .map(|(coding, suffix)| (of(coding.as_bytes()).unwrap_or(any), *coding, *suffix));
        let mut usable: Vec<_> = weighted.filter(|(w, ..)| *w > 0 && *w >= identity).collect();
        // Equal weights stay in the order of the file.
        usable.sort_by_key(|(weight, ..)| std::cmp::Reverse(*weight));
        usable.into_iter().map(|(_, coding, suffix)| (coding, suffix)).unzip()
    }
}

/// The type of a file, by its name. Text is UTF-8.
fn media_type(file: &ServedFile) -> String {
    let guess = mime_guess::from_path(&file.name).first_or_octet_stream();
    let text = guess.type_() == "text" || guess.essence_str() == "application/javascript";
    if text { format!("{guess}; charset=utf-8") } else { guess.to_string() }
}

/// The type of an answer whose first piece this is.
fn multipart_type(head: &[u8]) -> String {
    let line = head.split(|byte| *byte == b'\r').nth(1).unwrap_or_default();
    let boundary = String::from_utf8_lossy(line.strip_prefix(b"\n--").unwrap_or_default());
    format!("multipart/byteranges; boundary={boundary}")
}
