//! Envoy 1.40 and our own proxy with the same documents: what they make of the same request.

use std::net::SocketAddr;

use outrigger_integration::control_plane::ControlPlane;
use outrigger_integration::documents::Documents;
use outrigger_integration::mesh::{CALLER, Mesh};
use outrigger_integration::origin::Origin;
use outrigger_integration::process::Process;
use outrigger_integration::wire::{Response, Wire};
use outrigger_integration::{envoy, peers, wait};

use crate::peers_envoy::answers;

/// One mesh of each, over the same services.
struct Both {
    envoy: SocketAddr,
    ours: Mesh,
    _control_plane: ControlPlane,
    _process: Process,
    _folder: tempfile::TempDir,
}

impl Both {
    /// `None` where there is no Envoy to be had.
    async fn of(documents: impl Fn() -> Documents) -> Option<Both> {
        let envoy = peers::envoy()?;
        let (control_plane, theirs) = (ControlPlane::start().await, documents());
        control_plane.apply(theirs.text()).await;
        let folder = tempfile::tempdir().unwrap();
        let process = envoy::start(&envoy, folder.path(), CALLER, "GRPC", control_plane.xds());
        wait::until("Envoy to serve", async || answers(&theirs, "/").await).await;
        let address = theirs.outbound(CALLER);
        let ours = Mesh::standalone(documents()).await;
        Some(Both { envoy: address, ours, _control_plane: control_plane, _process: process, _folder: folder })
    }

    /// The answers of Envoy and of ours to the same bytes.
    async fn ask(&self, bytes: &str) -> [Response; 2] {
        let mut answers = Vec::new();
        for mut wire in [Wire::connect(self.envoy).await, self.ours.wire().await] {
            wire.send(bytes).await;
            answers.push(wire.response().await);
        }
        answers.try_into().unwrap()
    }
}

fn small(origin: &Origin) -> Documents {
    outrigger_integration::mesh::small("http", &[origin.address()])
}

#[tokio::test]
async fn a_backends_changes_of_fields_hold_over_its_rules() {
    let origin = Origin::start().await;
    let rules = "
- filters:
  - type: RequestHeaderModifier
    requestHeaderModifier:
      set: [{ name: x-set, value: rule }, { name: x-twice, value: rule }, { name: x-out, value: rule }]
      add: [{ name: x-more, value: rule }, { name: x-over, value: rule }]
      remove: [x-back]
  - type: ResponseHeaderModifier
    responseHeaderModifier: { set: [{ name: x-answer, value: rule }] }
  backendRefs:
  - name: catalog
    port: 80
    filters:
    - type: RequestHeaderModifier
      requestHeaderModifier:
        set: [{ name: x-set, value: way }, { name: x-over, value: way }]
        add: [{ name: x-twice, value: way }, { name: x-more, value: way }, { name: x-back, value: way }]
        remove: [x-out]
    - type: ResponseHeaderModifier
      responseHeaderModifier: { set: [{ name: x-answer, value: way }] }";
    let Some(both) = Both::of(|| small(&origin).route("catalog", rules)).await else { return };
    let before = origin.seen().len();
    let fields = "x-set: mine\r\nx-more: mine\r\nx-over: mine\r\nx-back: mine\r\nx-out: mine\r\n";
    let answers = both.ask(&format!("GET / HTTP/1.1\r\nhost: catalog\r\n{fields}\r\n")).await;
    assert_eq!(
        answers.map(|answer| answer.head.get("x-answer").map(str::to_owned)),
        [Some("way".into()), Some("way".into())]
    );
    for (seen, who) in origin.seen()[before..].iter().zip(["Envoy", "ours"]) {
        let values = |name: &str| {
            seen.headers.get_all(name).iter().map(|one| one.to_str().unwrap().to_owned()).collect::<Vec<_>>().join(",")
        };
        let got = ["x-set", "x-twice", "x-out", "x-more", "x-over", "x-back"].map(values);
        assert_eq!(got, ["way", "rule,way", "", "mine,rule,way", "way", "way"], "{who}");
    }
}

#[tokio::test]
async fn cookies_and_templates_choose_alike() {
    let (origin, beta) = (Origin::named("catalog").await, Origin::named("beta").await);
    let rules = "
- matches:
  - cookies: [{ name: user, type: RegularExpression, value: \"a.a\" }]
  - path: { type: PathTemplate, value: \"/users/{id}/beta\" }
  backendRefs: [{ name: beta, port: 80 }]
- matches: [{ path: { value: /users } }, {}]
  backendRefs: [{ name: catalog, port: 80 }]";
    let documents = || small(&origin).service("beta", "http", &[beta.address()]).route("catalog", rules);
    let Some(both) = Both::of(documents).await else { return };
    for (path, cookie, service) in [
        ("/", "user=ada", "beta"),
        ("/", "x=y; user=ada; z=1", "beta"),
        ("/", "user=a; b=a", "catalog"),
        ("/", "xuser=ada", "catalog"),
        ("/users/7/beta", "", "beta"),
        ("/users/*/beta", "", "beta"),
        ("/users/7/8/beta", "", "catalog"),
        ("/users//beta", "", "catalog"),
        ("/users/7/beta/", "", "catalog"),
    ] {
        let cookie = if cookie.is_empty() { String::new() } else { format!("cookie: {cookie}\r\n") };
        let answers = both.ask(&format!("GET {path} HTTP/1.1\r\nhost: catalog\r\n{cookie}\r\n")).await;
        let services = answers.map(|answer| answer.head.get("x-origin").map(str::to_owned));
        assert_eq!(services, [Some(service.to_owned()), Some(service.to_owned())], "{path} {cookie}");
    }
}

/// Paths, and what comes of them: the path that the service sees, or the status of a refusal.
const PATHS: [(&str, Result<&str, u16>); 24] = [
    ("/a/../b", Ok("/b")),
    ("/a/%2e%2e/b", Ok("/b")),
    ("/a/.%2E/b", Ok("/b")),
    ("/a/.", Ok("/a/")),
    ("/a/..", Ok("/")),
    ("/a/...", Ok("/a/...")),
    ("/a//b", Ok("/a//b")),
    ("//a", Ok("//a")),
    ("/a//../b", Ok("/a/b")),
    ("/%41%7e%2D%5f", Ok("/A~-_")),
    ("/a%2fb", Ok("/a%2fb")),
    ("/a%5Cb", Ok("/a%5Cb")),
    ("/a\\b", Ok("/a/b")),
    ("/a\\..\\b", Ok("/b")),
    ("/a/..;x/b", Ok("/b")),
    ("/a/.;/b", Ok("/a/b")),
    ("/a;..;/b", Ok("/a;..;/b")),
    ("/a%zz", Ok("/a%zz")),
    ("/a%0a", Ok("/a%0a")),
    ("/a|{b}\"^", Ok("/a%7C%7Bb%7D%22%5E")),
    ("/a/%252e%252e/b", Ok("/a/%252e%252e/b")),
    ("/x?a=/../b%41", Ok("/x?a=/../b%41")),
    ("/a%00", Err(400)),
    ("/a\u{e4}", Err(400)),
];

/// Paths that only ours refuses: Envoy lets them climb no further than the root, or passes them on to whoever decodes.
const STRICTER: [&str; 5] = ["/../a", "/a/../../b", "/..%2fadmin", "/a%5c..%5cb", "/%%32e%%32e/b"];

#[tokio::test]
async fn a_path_has_the_same_form() {
    let origin = Origin::start().await;
    let Some(both) = Both::of(|| small(&origin)).await else { return };
    for (path, expected) in PATHS {
        let before = origin.seen().len();
        let answers = both.ask(&format!("GET {path} HTTP/1.1\r\nhost: catalog\r\n\r\n")).await;
        let seen: Vec<String> = origin.seen().into_iter().skip(before).map(|one| one.path).collect();
        let statuses = answers.map(|answer| answer.status);
        match expected {
            Ok(form) => {
                assert_eq!((statuses, &seen[..]), ([200; 2], &[form.to_owned(), form.to_owned()][..]), "{path}")
            }
            Err(status) => assert_eq!((statuses, seen.len()), ([status; 2], 0), "{path}"),
        }
    }
    for path in STRICTER {
        let answers = both.ask(&format!("GET {path} HTTP/1.1\r\nhost: catalog\r\n\r\n")).await;
        assert_eq!(answers.map(|answer| answer.status), [200, 400], "{path}");
    }
}
