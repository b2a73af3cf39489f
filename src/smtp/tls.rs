//! The certificate, read anew when its files change: what renews it need not tell us.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

pub struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    loaded: Mutex<Loaded>,
}

struct Loaded {
    seen: Seen,
    acceptor: TlsAcceptor,
}

/// What tells a file from the one that was there before.
type Seen = [Option<(SystemTime, u64)>; 2];

impl Tls {
    pub fn open(certificate: &Path, key: &Path) -> io::Result<Self> {
        let loaded = Mutex::new(Loaded { seen: look(certificate, key), acceptor: load(certificate, key)? });
        Ok(Self { certificate: certificate.to_owned(), key: key.to_owned(), loaded })
    }

    /// For the next handshake. A new certificate that cannot be used does not replace the old one.
    pub fn acceptor(&self) -> TlsAcceptor {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = look(&self.certificate, &self.key);
        if seen != loaded.seen {
            loaded.seen = seen;
            match load(&self.certificate, &self.key) {
                Ok(acceptor) => {
                    tracing::info!(certificate = %self.certificate.display(), "the certificate was read anew");
                    loaded.acceptor = acceptor;
                }
                Err(error) => tracing::error!(%error, "the new certificate cannot be used; the old one stays"),
            }
        }
        loaded.acceptor.clone()
    }
}

fn look(certificate: &Path, key: &Path) -> Seen {
    [certificate, key].map(|path| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    })
}

fn load(certificate: &Path, key: &Path) -> io::Result<TlsAcceptor> {
    let at = |path: &Path, error: &dyn std::fmt::Display| io::Error::other(format!("{}: {error}", path.display()));
    let chain: Vec<_> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(|error| at(certificate, &error))?;
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| at(key, &error))?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, secret))
        .map_err(|error| at(certificate, &error))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
