//! What a hit costs at least: bare actix-web in front of a bare foyer lookup, none of what an HTTP cache has to do. The
//! ceiling of `scripts/bench-hit.sh`: `ceiling ADDRESS DIRECTORY` serves the files of a directory from memory, on one thread.

use std::{collections::HashMap, error::Error, path::Path};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use bytes::Bytes;
use foyer::{Cache, CacheBuilder, S3FifoConfig};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Objects = Cache<String, Bytes>;

async fn hit(request: HttpRequest, objects: web::Data<Objects>) -> HttpResponse {
    match objects.get(request.path()) {
        Some(found) => HttpResponse::Ok().insert_header(("x-cache", "HIT")).body(found.value().clone()),
        None => HttpResponse::NotFound().finish(),
    }
}

fn files(directory: &Path) -> std::io::Result<HashMap<String, Bytes>> {
    let file = |entry: std::io::Result<std::fs::DirEntry>| {
        let entry = entry?;
        let path = format!("/{}", entry.file_name().to_string_lossy());
        Ok((path, std::fs::read(entry.path())?.into()))
    };
    std::fs::read_dir(directory)?.map(file).collect()
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(directory)) = (arguments.next(), arguments.next()) else {
        return Err("ceiling ADDRESS DIRECTORY".into());
    };
    let objects: Objects = CacheBuilder::new(512 << 20)
        .with_shards(16)
        .with_eviction_config(S3FifoConfig::default())
        .with_weighter(|path: &String, bytes: &Bytes| path.len() + bytes.len())
        .build();
    for (path, bytes) in files(Path::new(&directory))? {
        objects.insert(path, bytes);
    }
    let objects = web::Data::new(objects);
    let app = move || App::new().app_data(objects.clone()).default_service(web::to(hit));
    actix_web::rt::System::new().block_on(HttpServer::new(app).workers(1).bind(address)?.run())?;
    Ok(())
}
