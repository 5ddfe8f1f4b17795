//! The socket of users, with one who wants all of it.
use crate::head::{Site, until};
use std::os::unix::net::UnixStream;

#[test]
fn who_has_too_many_connections_is_told_so_and_holds_nothing_by_it() {
    let site = Site::new("provider = \"process\"\n");
    let head = site.start();
    let (status, words) = until("a refusal", || {
        // More than one may have.
        let held: Vec<_> =
            (0..280).map(|_| UnixStream::connect(site.socket())).collect::<Result<_, _>>().ok()?;
        let answer = head.try_get("/v1/status");
        drop(held);
        answer.filter(|(status, _)| *status != 200)
    });
    assert!(status == 503 && words.contains("too many connections of yours are open"), "{words}");
    // As soon as they are gone, there is room again.
    until("an answer", || head.try_get("/v1/status").filter(|(status, _)| *status == 200));
}
