//! Against a Redis of the test's own, over pipes of the same runtime, so that time can be held.

mod model;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use http::StatusCode;
use http::header::{HeaderMap, HeaderValue};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::Instant;

use super::super::freshness::Freshness;
use super::super::stored::{Selector, Stored};
use super::link::{Dial, Link, Stream};
use super::meter::MAX_ANSWER;
use super::words::Condition;
use super::{Looked, Second, TIMEOUT, View};
use crate::clock;
use crate::telemetry::second::{Change, Lookup};

/// What the other end does with a question, other than greetings.
#[derive(Clone, Debug)]
enum Says {
    /// Nothing.
    Nothing,
    /// This.
    This(&'static str),
    /// This, and then more than anybody can hold.
    Endless(&'static str),
    /// That it did what it was told, this much later: it is far away.
    Later(Duration),
    /// It hangs up.
    Bye,
    /// What Redis would.
    Keeps(Arc<Hashes>),
}

/// The hashes of a Redis, by key and field.
type Hashes = Mutex<HashMap<Vec<u8>, HashMap<Vec<u8>, Vec<u8>>>>;

/// What the scripts do, without a clock.
fn run(hashes: &Hashes, words: &[Vec<u8>]) -> Vec<u8> {
    let mut hashes = hashes.lock();
    if words[0] == b"HDEL" {
        hashes.entry(words[1].clone()).or_default().remove(&words[2]);
        return b":1\r\n".to_vec();
    }
    let (script, hash) = (String::from_utf8_lossy(&words[1]), hashes.entry(words[3].clone()).or_default());
    let mark = hash.get(&b"g"[..]).cloned();
    if script.contains("'HSTRLEN'") {
        let mark = mark.map_or(b"$-1\r\n".to_vec(), |mark| [b"$8\r\n", &mark[..], b"\r\n"].concat());
        let Some(entry) = hash.get(&words[4]) else { return [b"*2\r\n", &mark[..], b":0\r\n"].concat() };
        let length = entry.len().to_string();
        let head = [b"*4\r\n", &mark[..], b":", length.as_bytes(), b"\r\n$", length.as_bytes(), b"\r\n"].concat();
        return [&head[..], entry, b"\r\n:0\r\n"].concat();
    }
    if script.contains("'HLEN'") {
        if mark.unwrap_or_default() != words[4] {
            return b":0\r\n".to_vec();
        }
        for pair in words[7..].chunks(2) {
            hash.insert(pair[0].clone(), pair[1].clone());
        }
    } else {
        hash.clear();
        hash.insert(b"g".to_vec(), words[4].clone());
    }
    b":1\r\n".to_vec()
}

struct Fake {
    second: Arc<Second>,
    dialled: Arc<AtomicUsize>,
    sent: Arc<AtomicUsize>,
}

/// The words of a command, as they stand on the wire.
async fn command(stream: &mut (impl AsyncRead + Unpin)) -> Option<Vec<Vec<u8>>> {
    async fn line(stream: &mut (impl AsyncRead + Unpin)) -> Option<usize> {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            line.push(stream.read_u8().await.ok()?);
        }
        std::str::from_utf8(&line[1..line.len() - 2]).ok()?.parse().ok()
    }
    let count = line(stream).await?;
    let mut words = Vec::new();
    for _ in 0..count {
        let mut word = vec![0; line(stream).await? + 2];
        stream.read_exact(&mut word).await.ok()?;
        word.truncate(word.len() - 2);
        words.push(word);
    }
    Some(words)
}

/// Answers each command so much later, however many come meanwhile.
async fn serve_later(stream: DuplexStream, away: Duration) {
    let (mut commands, mut answers) = tokio::io::split(stream);
    let (tell, mut told) = tokio::sync::mpsc::channel::<Instant>(1024);
    tokio::spawn(async move {
        while let Some(at) = told.recv().await {
            tokio::time::sleep_until(at).await;
            let _ = answers.write_all(b":1\r\n").await;
        }
    });
    while command(&mut commands).await.is_some() {
        let _ = tell.send(Instant::now() + away).await;
    }
}

async fn serve(mut stream: DuplexStream, says: Says, sent: Arc<AtomicUsize>) {
    if let Says::Later(away) = says {
        return serve_later(stream, away).await;
    }
    while let Some(words) = command(&mut stream).await {
        let asks = matches!(words[0].as_slice(), b"EVAL" | b"HDEL");
        let answer = match &says {
            _ if !asks => b"+OK\r\n".to_vec(),
            Says::Nothing | Says::Later(_) => continue,
            Says::Bye => return,
            Says::This(answer) | Says::Endless(answer) => answer.as_bytes().to_vec(),
            Says::Keeps(hashes) => run(hashes, &words),
        };
        let _ = stream.write_all(&answer).await;
        if asks && matches!(says, Says::Endless(_)) {
            while stream.write_all(&[b'x'; 1 << 14]).await.is_ok() {
                sent.fetch_add(1 << 14, Relaxed);
            }
            return;
        }
    }
}

/// A second level whose Redis says this; it can be reached if `there`.
async fn fake(says: Says, there: bool) -> Fake {
    let (dialled, sent) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (count, bytes) = (Arc::clone(&dialled), Arc::clone(&sent));
    let dial: Dial = Box::new(move || {
        count.fetch_add(1, Relaxed);
        let (sent, says) = (Arc::clone(&bytes), says.clone());
        Box::pin(async move {
            if !there {
                return Err(std::io::ErrorKind::ConnectionRefused.into());
            }
            let (near, far) = tokio::io::duplex(1 << 16);
            tokio::spawn(serve(far, says, sent));
            let near: Box<dyn Stream> = Box::new(near);
            Ok(near)
        })
    });
    let second = Arc::new(Second::over(Link::over(dial, Default::default()), b"", TIMEOUT));
    while there && !second.is_up() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Fake { second, dialled, sent }
}

impl Fake {
    async fn look(&self, key: &[u8]) -> (Looked, Duration) {
        self.look_until(key, Duration::from_secs(5)).await
    }

    async fn look_until(&self, key: &[u8], until: Duration) -> (Looked, Duration) {
        let start = Instant::now();
        let shown = Arc::from("shown");
        let looked = self.second.look((key, &shown), (7, View::Acting), &HeaderMap::new(), clock::now() + until).await;
        (looked, start.elapsed())
    }
}

fn stored(size: usize) -> Arc<Stored> {
    let now = clock::now();
    let head = HeaderMap::from_iter([(http::header::ETAG, HeaderValue::from_static("\"a\""))]);
    let body = Some(vec![0; size].into());
    let (selector, freshness) = (Selector::of_nothing(7), Freshness::plain(now));
    Arc::new(Stored::new(selector, freshness, (StatusCode::OK, &head), body, now, "shown".into()))
}

#[tokio::test(start_paused = true)]
async fn a_redis_that_says_nothing_costs_a_few_timeouts_and_then_one_a_second() {
    let fake = fake(Says::Nothing, true).await;
    for _ in 0..5 {
        let (looked, took) = fake.look(b"a").await;
        assert_eq!((looked.how, took), (Lookup::Timeout, TIMEOUT));
        assert!(looked.ticket.is_none() && looked.stored.is_none());
    }
    let (looked, took) = fake.look(b"a").await;
    assert_eq!((looked.how, took), (Lookup::Away, Duration::ZERO));
    let mut timeouts = 0;
    for _ in 0..1000 {
        timeouts += usize::from(fake.look(b"a").await.0.how == Lookup::Timeout);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!((5..=11).contains(&timeouts), "{timeouts} in ten seconds");
    // A connection on which nothing is said for a second is made anew, each time.
    let dialled = fake.dialled.load(Relaxed);
    assert!((2..=12).contains(&dialled), "{dialled} connections in ten seconds");
}

#[tokio::test(start_paused = true)]
async fn a_caller_in_a_hurry_says_nothing_of_redis() {
    let fake = fake(Says::Nothing, true).await;
    let short = TIMEOUT / 2;
    for _ in 0..10 {
        let (looked, took) = fake.look_until(b"a", short).await;
        assert_eq!((looked.how, took), (Lookup::Timeout, short));
    }
}

#[tokio::test(start_paused = true)]
async fn a_redis_that_is_away_costs_nothing_and_is_not_pressed() {
    let fake = fake(Says::Nothing, false).await;
    for _ in 0..100 {
        let (looked, took) = fake.look(b"a").await;
        assert_eq!((looked.how, took), (Lookup::Away, Duration::ZERO));
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    let dialled = fake.dialled.load(Relaxed);
    assert!((12..=40).contains(&dialled), "{dialled} connections in a minute");
}

#[tokio::test(start_paused = true)]
async fn what_is_no_answer_is_a_miss() {
    for (says, how) in [
        (Says::This("*2\r\n$-1\r\n:0\r\n"), Lookup::Miss),
        (Says::This("*2\r\n$8\r\n12345678\r\n:0\r\n"), Lookup::Miss),
        (Says::This("*2\r\n$-1\r\n:1073741824\r\n"), Lookup::Oversize),
        (Says::This("*4\r\n$-1\r\n:5\r\n$5\r\nhello\r\n:0\r\n"), Lookup::Corrupt),
        (Says::This("-NOPERM no\r\n"), Lookup::Refused),
        (Says::This("-WRONGTYPE no\r\n"), Lookup::Refused),
        (Says::This("+OK\r\n"), Lookup::Garbage),
        (Says::This("$-1\r\n"), Lookup::Garbage),
        (Says::This("*0\r\n"), Lookup::Garbage),
        (Says::This("HTTP/1.1 400 Bad Request\r\n"), Lookup::Garbage),
        (Says::This("\u{0}\u{1}\u{2}\r\n"), Lookup::Garbage),
        (Says::This("*-7\r\n"), Lookup::Garbage),
        (Says::This("$-7\r\n"), Lookup::Garbage),
        (Says::Bye, Lookup::Lost),
        // As deep as can be, and wide.
        (Says::This(Box::leak("*4096\r\n".repeat(20_000).into_boxed_str())), Lookup::Garbage),
        (Says::This(Box::leak("*1\r\n".repeat(20_000).into_boxed_str())), Lookup::Garbage),
        (Says::This(Box::leak("|1\r\n".repeat(20_000).into_boxed_str())), Lookup::Garbage),
        // What is announced and does not come.
        (Says::This("*1000000000\r\n"), Lookup::Timeout),
        (Says::This("$1073741824\r\n"), Lookup::Timeout),
    ] {
        let fake = fake(says.clone(), true).await;
        let (looked, took) = fake.look(b"a").await;
        assert_eq!(looked.how, how, "{says:?}");
        assert!(looked.stored.is_none() && took <= TIMEOUT, "{says:?}");
        assert_eq!(
            looked.ticket.is_some(),
            matches!(how, Lookup::Miss | Lookup::Oversize | Lookup::Corrupt),
            "{says:?}"
        );
        assert_eq!(fake.second.counters.lookups(how), 1);
    }
}

#[tokio::test]
async fn a_gibibyte_is_not_read() {
    for says in
        [Says::Endless("$1073741824\r\n"), Says::Endless("*4\r\n$-1\r\n:9\r\n$1073741824\r\n"), Says::Endless("+")]
    {
        let fake = fake(says.clone(), true).await;
        let (looked, _) = fake.look(b"a").await;
        assert!(matches!(looked.how, Lookup::Garbage | Lookup::Timeout), "{says:?}: {:?}", looked.how);
        tokio::time::sleep(Duration::from_millis(200)).await;
        // What the pipe holds is not read.
        let sent = fake.sent.load(Relaxed);
        assert!(sent <= MAX_ANSWER + (1 << 17), "{says:?}: {sent}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_bounded_and_counted() {
    let fake = fake(Says::Nothing, true).await;
    let ticket = super::Ticket {
        second: Arc::clone(&fake.second),
        name: fake.second.sealer.name(b"a", b""),
        condition: Condition::Same(None),
    };
    for _ in 0..3000 {
        ticket.keep(&stored(10));
    }
    assert!(fake.second.waiting() <= 1024 && fake.second.counters.changes(Change::Dropped) >= 3000 - 1025);
    // And of long ones, by their bytes.
    let fake = self::fake(Says::Nothing, true).await;
    let ticket = super::Ticket { second: Arc::clone(&fake.second), ..ticket };
    for _ in 0..100 {
        ticket.keep(&stored(1 << 20));
    }
    assert!(fake.second.waiting() <= 16, "{}", fake.second.waiting());
    // It is given up, in time, and leaves nothing behind.
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(fake.second.waiting(), 0);
    ticket.keep(&stored(1 << 20));
    assert_eq!(fake.second.waiting(), 1);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_believed_of_a_target_whose_change_is_not_known_there() {
    let fake = fake(Says::This("-LOADING not yet\r\n"), true).await;
    fake.second.forget(b"a", View::Acting);
    assert_eq!(fake.look(b"a").await.0.how, Lookup::Pending);
    assert_eq!(fake.look(b"b").await.0.how, Lookup::Refused);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(fake.look(b"a").await.0.how, Lookup::Pending);
    let well = self::fake(Says::This(":1\r\n"), true).await;
    well.second.forget(b"a", View::Acting);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(well.second.counters.changes(Change::Removed), 1);
    assert_ne!(well.look(b"a").await.0.how, Lookup::Pending);
    // Not more than so many are remembered.
    for number in 0..9000u32 {
        fake.second.forget(&number.to_le_bytes(), View::Acting);
    }
    assert!(fake.second.waiting() <= 8192 && fake.second.counters.changes(Change::Lost) >= 800);
}

#[tokio::test(start_paused = true)]
async fn many_changes_do_not_wait_for_each_other_where_redis_is_far() {
    let fake = fake(Says::Later(Duration::from_millis(2)), true).await;
    let begun = Instant::now();
    (0..5000u32).for_each(|number| fake.second.forget(&number.to_le_bytes(), View::Acting));
    fake.second.settled().await;
    assert_eq!(fake.second.counters.changes(Change::Removed), 5000);
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_stood_there_before_a_change_that_was_given_up_is_not_believed() {
    let fake = fake(Says::Keeps(Arc::default()), true).await;
    let pause = || tokio::time::sleep(Duration::from_millis(10));
    let ticket = fake.look(b"k").await.0.ticket.expect("it answers");
    let old = stored(1);
    ticket.keep(&old);
    pause().await;
    assert_eq!(fake.look(b"k").await.0.how, Lookup::Found);
    (0..9000u32).for_each(|number| fake.second.forget(&number.to_le_bytes(), View::Acting));
    fake.second.forget(b"k", View::Acting);
    assert!(fake.second.counters.changes(Change::Lost) >= 800);
    fake.second.settled().await;
    let again = fake.look(b"k").await.0;
    assert!(again.stored.is_none() && again.how == Lookup::Miss, "{:?}", again.how);
    // Nor is it put there once more, but what was asked for later is.
    let ticket = again.ticket.expect("it answers");
    ticket.keep(&old);
    pause().await;
    assert_eq!(fake.look(b"k").await.0.how, Lookup::Miss);
    ticket.keep(&stored(1));
    pause().await;
    assert_eq!(fake.look(b"k").await.0.how, Lookup::Found);
}

#[tokio::test(start_paused = true)]
async fn not_more_than_so_many_ask_at_once() {
    let fake = fake(Says::Nothing, true).await;
    let looks = futures_util::future::join_all((0..400u32).map(|number| {
        let fake = &fake;
        async move { fake.look(&number.to_le_bytes()).await.0.how }
    }));
    let looked = looks.await;
    let crowded = looked.iter().filter(|how| **how == Lookup::Crowded).count();
    assert_eq!(crowded, 400 - super::meter::MAX_UNDER_WAY);
}
