//! One authority: the account there, and an order from its beginning to a certificate.

use std::{path::Path, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use instant_acme::{
    Account, AuthorizationStatus, BodyWrapper, BytesResponse, ChallengeType, Error as AcmeError, HttpClient,
    Identifier, NewAccount, NewOrder, Order, OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio::time::timeout;

use super::{
    Challenges, Error,
    kept::{self, Kept},
};

/// For one answer of the authority, and its length.
const PATIENCE: Duration = Duration::from_secs(30);
const MAX_ANSWER: usize = 1 << 20;
/// For the authority to look at what it has asked for, and to sign.
const LOOKING: RetryPolicy =
    RetryPolicy::new().initial_delay(Duration::from_millis(500)).timeout(Duration::from_secs(120));

pub struct Authority {
    directory: String,
    contact: Option<String>,
    challenges: Challenges,
    http: Https,
}

#[derive(Clone)]
struct Https(Client<HttpsConnector<HttpConnector>, BodyWrapper<Bytes>>);

impl Authority {
    pub fn new(
        directory: String,
        contact: Option<String>,
        ca_file: Option<&Path>,
        challenges: Challenges,
    ) -> Result<Self, Error> {
        let setup = |error: rustls::Error| Error::Setup(error.to_string());
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let Some(path) = ca_file {
            let wrong = |detail: String| Error::File(path.to_owned(), detail);
            let found = CertificateDer::pem_file_iter(path).map_err(|error| wrong(error.to_string()))?;
            for certificate in found {
                let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
                roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
            }
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let tls = tls.map_err(setup)?.with_root_certificates(roots).with_no_client_auth();
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls);
        let connector = connector.https_only().enable_http1().enable_http2().build();
        let http = Https(Client::builder(TokioExecutor::new()).build(connector));
        Ok(Self { directory, contact, challenges, http })
    }

    /// A new key with its certificates, in PEM.
    pub async fn order(&self, name: &str, kept: &Kept) -> Result<String, Error> {
        let account = self.account(kept).await?;
        let ordered = self.order_of(&account, name).await;
        if let Err(Error::Authority(AcmeError::Api(problem))) = &ordered
            && problem.r#type.as_deref().is_some_and(|kind| kind.ends_with(":accountDoesNotExist"))
        {
            // The next try is with another.
            kept.remove_account().await?;
        }
        ordered
    }

    async fn order_of(&self, account: &Account, name: &str) -> Result<String, Error> {
        let identifiers = [match name.parse() {
            Ok(address) => Identifier::Ip(address),
            Err(_) => Identifier::Dns(name.to_owned()),
        }];
        let mut order = account.new_order(&NewOrder::new(&identifiers)).await?;
        let mut shown = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            if authorization.status == AuthorizationStatus::Valid {
                continue;
            }
            let mut challenge = authorization.challenge(ChallengeType::Http01).ok_or(Error::NoHttp)?;
            shown.push(self.challenges.show(&challenge.token, challenge.key_authorization().as_str()));
            challenge.set_ready().await?;
        }
        if order.poll_ready(&LOOKING).await? != OrderStatus::Ready {
            return Err(Error::Refused(why(&mut order).await));
        }
        drop(shown);
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new([name.to_owned()])?;
        params.distinguished_name = DistinguishedName::new();
        order.finalize_csr(params.serialize_request(&key)?.der()).await?;
        let chain = order.poll_certificate(&LOOKING).await?;
        Ok(format!("{}{chain}", key.serialize_pem()))
    }

    /// The one that is kept, or a new one, which is kept before it is used.
    async fn account(&self, kept: &Kept) -> Result<Account, Error> {
        let builder = Account::builder_with_http(Box::new(self.http.clone()));
        if let Some(known) = kept.account(&self.directory).await? {
            return Ok(builder.from_credentials(known.credentials).await?);
        }
        let contact: Vec<_> = self.contact.as_deref().into_iter().collect();
        let new =
            NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
        let (account, credentials) = builder.create(&new, self.directory.clone(), None).await?;
        kept.put_account(&kept::Account { directory: self.directory.clone(), credentials }).await?;
        Ok(account)
    }
}

/// What the authority says of proofs that it did not take.
async fn why(order: &mut Order) -> String {
    let mut said = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        if let Ok(state) = authorization.refresh().await {
            let problems = state.challenges.iter().filter_map(|challenge| challenge.error.as_ref());
            said.extend(problems.map(ToString::to_string));
        }
    }
    if said.is_empty() { "it does not say why".to_owned() } else { said.join("; ") }
}

impl HttpClient for Https {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, AcmeError>> + Send>> {
        let asked = self.0.request(request);
        let answer = async move {
            let (parts, body) = asked.await.map_err(|error| AcmeError::Other(Box::new(error)))?.into_parts();
            let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(AcmeError::Other)?.to_bytes();
            Ok(BytesResponse { parts, body: Box::new(body) })
        };
        Box::pin(async move {
            let late = |_| AcmeError::Other(format!("no answer within {PATIENCE:?}").into());
            timeout(PATIENCE, answer).await.map_err(late)?
        })
    }
}
