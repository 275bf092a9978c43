//! When a program is ready.

use std::{error::Error, io, time::Duration};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client,
    api::{DeleteParams, PostParams},
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};

use super::{Process, client, credentials::Account, plan::Plan};

/// Returns when the program is ready, however long that takes.
pub(super) async fn ready(plan: &Plan, process: Process) {
    loop {
        let attempt = async {
            match process {
                Process::Etcd => etcd(plan).await,
                Process::ApiServer => api_server(plan).await,
                Process::ControllerManager => controller_manager(plan).await,
            }
        };
        if let Ok(Ok(())) = timeout(MAX_ATTEMPT, attempt).await {
            return;
        }
        sleep(PAUSE).await;
    }
}

async fn etcd(plan: &Plan) -> Result<(), Box<dyn Error>> {
    let mut stream = TcpStream::connect(("127.0.0.1", plan.ports.etcd)).await?;
    stream.write_all(b"GET /health HTTP/1.0\r\n\r\n").await?;
    let mut response = String::new();
    stream.read_to_string(&mut response).await?;
    if response.contains(r#""health":"true""#) {
        Ok(())
    } else {
        Err(io::Error::other(response).into())
    }
}

async fn api_server(plan: &Plan) -> Result<(), Box<dyn Error>> {
    // It listens later than it writes the certificate, which must not be read half written.
    TcpStream::connect(("127.0.0.1", plan.ports.api_server)).await?;
    let kube = admin(plan).await?;
    kube.request_text(http::Request::get("/readyz").body(Vec::new())?).await?;
    Ok(())
}

/// Whether it has begun to collect: an object whose owner does not exist goes away. Its own `/healthz` says yes
/// long before that.
async fn controller_manager(plan: &Plan) -> Result<(), Box<dyn Error>> {
    let config_maps: Api<ConfigMap> = Api::namespaced(admin(plan).await?, "default");
    let orphan = serde_json::from_value(json!({
        "metadata": {
            "name": "collected-when-ready",
            "ownerReferences": [{
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "name": "absent",
                "uid": "00000000-0000-0000-0000-000000000000",
            }],
        },
    }))?;
    // It is there already when an earlier attempt ran out of time.
    let _ = config_maps.delete("collected-when-ready", &DeleteParams::default()).await;
    config_maps.create(&PostParams::default(), &orphan).await?;
    while config_maps.get_metadata_opt("collected-when-ready").await?.is_some() {
        sleep(PAUSE).await;
    }
    Ok(())
}

async fn admin(plan: &Plan) -> Result<Client, Box<dyn Error>> {
    client(&plan.kubeconfig(Account::Admin)).await
}

const PAUSE: Duration = Duration::from_millis(50);
/// A server that accepts a connection and says nothing is asked again; the collector starts within this time.
const MAX_ATTEMPT: Duration = Duration::from_secs(15);
