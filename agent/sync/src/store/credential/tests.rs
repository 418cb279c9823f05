//! Secrets as they come in files, and the documented string to sign.

use super::*;

fn secret(text: &str) -> Secret {
    Secret::new(text.as_bytes().to_vec())
}

#[test]
fn a_sas_comes_with_or_without_its_question_mark() {
    for text in [
        "sv=2021&sig=abc%3D",
        "?sv=2021&sig=abc%3D",
        " ?sv=2021&sig=abc%3D\n",
    ] {
        let Ok(Credential::Sas(sas)) = Credential::from_sas(&secret(text)) else {
            panic!("{text}");
        };
        assert_eq!(sas.expose_str().unwrap(), "sv=2021&sig=abc%3D");
    }
    assert!(Credential::from_sas(&secret("https://a/b?sv=1&sig=x")).is_err());
    assert!(Credential::from_sas(&secret("sv=2021")).is_err());
}

#[test]
fn connection_strings_give_a_key_or_a_sas() {
    let full = "DefaultEndpointsProtocol=https;AccountName=shop;AccountKey=a2V5==;EndpointSuffix=core.windows.net";
    let Ok(Credential::SharedKey { account, key }) =
        Credential::from_connection_string(&secret(full))
    else {
        panic!();
    };
    // the padding of base64 is not a separator
    assert_eq!(
        (account.as_str(), key.expose_str().unwrap()),
        ("shop", "a2V5==")
    );
    let sas = "BlobEndpoint=https://a/;SharedAccessSignature=sv=1&sig=x";
    assert!(matches!(
        Credential::from_connection_string(&secret(sas)),
        Ok(Credential::Sas(_))
    ));
    let emulator = Credential::from_connection_string(&secret("UseDevelopmentStorage=true"));
    assert!(
        matches!(emulator, Ok(Credential::SharedKey { account, .. }) if account == "devstoreaccount1")
    );
    for bad in [
        "",
        "AccountName=shop",
        "AccountName=;AccountKey=",
        "nonsense",
    ] {
        assert!(
            Credential::from_connection_string(&secret(bad)).is_err(),
            "{bad}"
        );
    }
}

#[test]
fn no_secret_is_printed() {
    let sas = Credential::from_sas(&secret("sv=1&sig=TOPSECRET")).unwrap();
    let key =
        Credential::from_connection_string(&secret("AccountName=a;AccountKey=TOPSECRET")).unwrap();
    assert!(!format!("{sas:?} {key:?}").contains("TOPSECRET"));
}

#[test]
fn the_end_of_a_sas_is_found_in_every_form_azure_takes() {
    let end = |se: &str| {
        let sas = Credential::from_sas(&secret(&format!("sv=1&se={se}&sig=x"))).unwrap();
        sas.expiry()
            .map(|end| humantime::format_rfc3339(end).to_string())
    };
    assert_eq!(
        end("2030-01-02T03%3A04%3A05Z").as_deref(),
        Some("2030-01-02T03:04:05Z")
    );
    assert_eq!(
        end("2030-01-02T03:04Z").as_deref(),
        Some("2030-01-02T03:04:00Z")
    );
    assert_eq!(end("2030-01-02").as_deref(), Some("2030-01-02T00:00:00Z"));
    assert_eq!(end("soon"), None);
}

#[test]
fn the_string_to_sign_is_the_documented_one() {
    // Microsoft, "Authorize with Shared Key", "Blob, Queue, and File Services (Shared Key authorization)": Get Container Metadata
    let url = Url::parse("https://myaccount.blob.core.windows.net/mycontainer?restype=container&comp=metadata&timeout=20").unwrap();
    let headers = [
        ("x-ms-version", "2015-02-21"),
        ("x-ms-date", "Fri, 26 Jun 2015 23:39:12 GMT"),
        ("content-length", "0"),
    ];
    let text = Signable {
        verb: "GET",
        url: &url,
        headers: &headers,
    }
    .string_to_sign("myaccount");
    assert_eq!(
        text,
        "GET\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:Fri, 26 Jun 2015 23:39:12 GMT\nx-ms-version:2015-02-21\n/myaccount/mycontainer\ncomp:metadata\nrestype:container\ntimeout:20"
    );
}
