//! The watched directory: what is written there stands, what is wrong there does not.

use std::path::Path;
use std::time::Duration;

use outrigger_config::error::Code;
use outrigger_config::resource::ResourceType::Cluster;
use outrigger_control_plane::state::{ChangeError, Filter};

use super::peer::{Delta, SHOP, apply, names, service, soon, start};

/// Two looks, and some.
const SOON: Duration = Duration::from_secs(15);

fn write(directory: &Path, name: &str, text: &str) {
    std::fs::write(directory.join(name), text).expect("writable");
}

#[tokio::test]
async fn files_are_followed_and_a_bad_one_keeps_what_it_said() {
    let directory = tempfile::tempdir().expect("a directory");
    let documents = directory.path().join("documents");
    std::fs::create_dir(&documents).expect("made");
    write(&documents, "shop.yaml", SHOP);
    write(&documents, "cart.yaml", &service("cart"));
    let running = start(&directory.path().join("store.redb"), Some(&documents)).await;
    let steering = running.steering.clone();
    let mut client = Delta::connect(running.xds, "shop/web-1").await;
    client.ask(Cluster, &["*"]).await;
    let clusters = client.answer().await;
    assert_eq!(names(&clusters), ["shop/cart/http", "shop/catalog/http"]);
    client.ack(&clusters).await;

    // One file becomes wrong and another one new: the new one stands, the wrong one stays as it was.
    write(&documents, "cart.yaml", &service("cart").replace("port: 80", "port: eighty"));
    write(&documents, "extra.yaml", &service("extra"));
    soon("the bad file is shown", SOON, || !steering.refused_files().is_empty()).await;
    let problems = steering.refused_files();
    let location = problems.0[0].location.as_ref().expect("a place");
    assert_eq!((location.file.as_str(), problems.0[0].code), ("cart.yaml", Code::WrongType));
    let added = client.answer().await;
    assert_eq!(names(&added), ["shop/extra/http"]);
    client.ack(&added).await;
    assert_eq!(steering.documents(&Filter::default()).len(), 5);

    // A file that is wrong only together with the others is refused as well.
    write(&documents, "extra.yaml", &service("catalog"));
    soon("both are shown", SOON, || steering.refused_files().0.len() == 2).await;
    assert_eq!(steering.documents(&Filter::default()).len(), 5);

    // What stands in a file cannot be changed over the API, nor the other way round.
    let refused = steering.apply(&service("extra"), false);
    assert!(matches!(refused, Err(ChangeError::Refused(problems)) if problems.0[0].code == Code::Conflict));
    apply(&steering, &service("applied")).await;
    write(&documents, "extra.yaml", &service("applied"));
    soon("the conflict is shown", SOON, || steering.refused_files().0.iter().any(|one| one.code == Code::Conflict))
        .await;

    std::fs::remove_file(documents.join("extra.yaml")).expect("removed");
    write(&documents, "cart.yaml", &service("cart"));
    soon("all is well", SOON, || steering.refused_files().is_empty()).await;
    assert_eq!(steering.documents(&Filter::default()).len(), 5);
    running.stop().await;
}
