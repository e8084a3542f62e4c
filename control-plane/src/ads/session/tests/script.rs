//! A scripted client of one session, and views made of a few words.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use outrigger_config::resource::ResourceType;
use outrigger_config::xds::transport::{DeltaDiscoveryRequest, DiscoveryRequest, Node, Status};

use crate::ads::session::{Refusal, Session};
use crate::ads::wire::{Answer, Transport};
use crate::view::{Entry, Sets, View};

pub(super) use ResourceType::{Assignment as EDS, Cluster as CDS, Listener as LDS, Table as RDS};

/// A view of resources written `TYPE:NAME=CONTENT`, the type by its first letter: `c:shop=1 e:shop=1`.
pub(super) fn view(generation: u64, text: &str) -> View {
    let entry = |word: &str| {
        let (kind, rest) = word.split_once(':').expect("TYPE:NAME=CONTENT");
        let (name, content) = rest.split_once('=').expect("TYPE:NAME=CONTENT");
        let kind = match kind {
            "c" => CDS,
            "e" => EDS,
            "l" => LDS,
            "r" => RDS,
            other => panic!("no type {other}"),
        };
        // The content names the resource, as a real one does.
        (kind, Arc::new(Entry::new(name.into(), Bytes::from(format!("{name}={content}")))))
    };
    View::new(generation, Arc::new(Sets::new(text.split_whitespace().map(entry))), Arc::default())
}

pub(super) struct Script {
    pub(super) session: Session,
    pub(super) now: Instant,
    transport: Transport,
    last: BTreeMap<ResourceType, Answer>,
}

impl Script {
    pub(super) fn new(transport: Transport, text: &str) -> Self {
        let mut script =
            Script { session: Session::new(transport), now: Instant::now(), transport, last: BTreeMap::new() };
        script.see(1, text);
        script
    }

    pub(super) fn see(&mut self, generation: u64, text: &str) {
        self.session.set_view(view(generation, text), self.now);
    }

    pub(super) fn wait(&mut self, time: Duration) {
        self.now += time;
    }

    /// Everything that is sent now, written `TYPE NAME NAME -REMOVED`.
    pub(super) fn sent(&mut self) -> Vec<String> {
        let mut all = Vec::new();
        while let Some(answer) = self.session.next(self.now) {
            all.push(words(&answer));
            self.last.insert(answer.kind, answer);
        }
        all
    }

    pub(super) fn last(&self, kind: ResourceType) -> &Answer {
        &self.last[&kind]
    }

    pub(super) fn try_list(&mut self, request: DiscoveryRequest) -> Result<(), Refusal> {
        let node = Some(Node { id: "shop/a".into(), ..Node::default() });
        self.session.list(&DiscoveryRequest { node, ..request }, self.now)
    }

    /// A state-of-the-world request in answer to the last response, if there was one.
    pub(super) fn list(&mut self, kind: ResourceType, names: &str) {
        let (nonce, version) = match self.last.get(&kind) {
            Some(answer) => (answer.nonce.to_string(), answer.version.to_string()),
            None => Default::default(),
        };
        self.list_as(kind, names, &nonce, &version);
    }

    pub(super) fn list_as(&mut self, kind: ResourceType, names: &str, nonce: &str, version: &str) {
        let request = DiscoveryRequest {
            version_info: version.to_owned(),
            resource_names: names.split_whitespace().map(str::to_owned).collect(),
            type_url: kind.type_url().to_owned(),
            response_nonce: nonce.to_owned(),
            ..DiscoveryRequest::default()
        };
        self.try_list(request).expect("a valid request");
    }

    pub(super) fn try_change(&mut self, request: DeltaDiscoveryRequest) -> Result<(), Refusal> {
        let node = Some(Node { id: "shop/a".into(), ..Node::default() });
        self.session.change(&DeltaDiscoveryRequest { node, ..request }, self.now)
    }

    /// An incremental request of names to add (`A`), to drop (`-A`) and held already (`A@VERSION`).
    pub(super) fn change(&mut self, kind: ResourceType, words: &str) {
        let mut request = DeltaDiscoveryRequest { type_url: kind.type_url().to_owned(), ..Default::default() };
        for word in words.split_whitespace() {
            if let Some((name, version)) = word.split_once('@') {
                request.initial_resource_versions.insert(name.to_owned(), version.to_owned());
            } else if let Some(name) = word.strip_prefix('-') {
                request.resource_names_unsubscribe.push(name.to_owned());
            } else {
                request.resource_names_subscribe.push(word.to_owned());
            }
        }
        self.try_change(request).expect("a valid request");
    }

    /// Accepts the last response of a type; `names` is the list that a state-of-the-world request repeats.
    pub(super) fn ack(&mut self, kind: ResourceType, names: &str) {
        self.answer(kind, names, None);
    }

    /// Refuses the last response of a type.
    pub(super) fn nack(&mut self, kind: ResourceType, names: &str, message: &str) {
        let error = Status { code: 13, message: message.to_owned(), ..Status::default() };
        self.answer(kind, names, Some(error));
    }

    fn answer(&mut self, kind: ResourceType, names: &str, error_detail: Option<Status>) {
        let answer = &self.last[&kind];
        let (type_url, response_nonce) = (kind.type_url().to_owned(), answer.nonce.to_string());
        let version_info = answer.version.to_string();
        match self.transport {
            Transport::Sotw => {
                let resource_names = names.split_whitespace().map(str::to_owned).collect();
                let request = DiscoveryRequest {
                    version_info,
                    resource_names,
                    type_url,
                    response_nonce,
                    error_detail,
                    ..Default::default()
                };
                self.try_list(request)
            }
            Transport::Delta => {
                let request = DeltaDiscoveryRequest {
                    type_url,
                    response_nonce,
                    error_detail,
                    ..DeltaDiscoveryRequest::default()
                };
                self.try_change(request)
            }
        }
        .expect("a valid answer");
    }

    /// What is refused now of a type, in the client's words.
    pub(super) fn refused(&self, kind: ResourceType) -> Option<String> {
        self.session.report().types.get(&kind)?.nack.as_ref().map(|nack| nack.message.clone())
    }

    pub(super) fn acked(&self, kind: ResourceType) -> String {
        self.session.report().types[&kind].acked.clone()
    }
}

fn words(answer: &Answer) -> String {
    let mut text = answer.kind.short().to_owned();
    let mut names: Vec<&str> = answer.resources.iter().map(|entry| &**entry.name()).collect();
    names.sort_unstable();
    names.iter().for_each(|name| text.extend([" ", name]));
    answer.removed.iter().for_each(|name| text.extend([" -", name]));
    text
}
