//! One request, as it is sent to both.

use support::{RawClient, Response};

/// A request of HTTP/1.1 with the fields that were asked for and `Host`.
#[derive(Clone)]
pub(crate) struct Ask {
    method: &'static str,
    pub(crate) host: String,
    target: String,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
}

pub(crate) fn get(target: &str) -> Ask {
    Ask {
        method: "GET",
        host: String::new(),
        target: target.to_owned(),
        fields: Vec::new(),
        body: Vec::new(),
    }
}

pub(crate) fn head(target: &str) -> Ask {
    Ask { method: "HEAD", ..get(target) }
}

pub(crate) fn post(target: &str, body: impl Into<Vec<u8>>) -> Ask {
    Ask { method: "POST", body: body.into(), ..get(target) }
}

/// Announces a body and does not send it: who refuses it can say so before it is there.
pub(crate) fn announce(target: &str, length: u64) -> Ask {
    Ask { method: "PUT", ..get(target).with("content-length", &length.to_string()) }
}

pub(crate) fn options(target: &str) -> Ask {
    Ask { method: "OPTIONS", ..get(target) }
}

impl Ask {
    pub(crate) fn method(mut self, method: &'static str) -> Self {
        self.method = method;
        self
    }

    pub(crate) fn host(mut self, host: &str) -> Self {
        host.clone_into(&mut self.host);
        self
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a user and password.
    pub(crate) fn login(self, user: &str, password: &str) -> Self {
        use base64::Engine as _;
        let both = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        self.with("authorization", &format!("Basic {both}"))
    }

    fn bytes(&self) -> Vec<u8> {
        let Self { method, host, target, fields, body } = self;
        let mut text = format!("{method} {target} HTTP/1.1\r\nhost: {host}\r\n");
        for (name, value) in fields {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        let announced = fields.iter().any(|(name, _)| name == "content-length");
        if *method == "POST" && !announced {
            text.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        text.push_str("\r\n");
        [text.as_bytes(), body].concat()
    }

    /// Sends it and reads the answer, which may come before all of the body was taken.
    pub(crate) fn send(&self, client: &mut RawClient) -> Response {
        client.offer(self.bytes());
        client
            .try_response(self.method)
            .unwrap_or_else(|e| panic!("{} {}: {e}", self.method, self.target))
    }

    /// Sends it without waiting for the answer.
    pub(crate) fn begin(&self, client: &mut RawClient) {
        client.send(self.bytes());
    }
}
