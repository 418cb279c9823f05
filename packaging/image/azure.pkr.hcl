# A managed image with Apache, PHP and the agent, by Packer's plugin azure-arm: the same two scripts as packaging/image/build.sh.
#   packer init azure.pkr.hcl && packer build -var subscription=... -var group=... -var package=lamplighter_0.1.0_amd64.deb azure.pkr.hcl
# Judged by check.sh; not run in Azure.
packer {
  required_plugins {
    azure = {
      source  = "github.com/hashicorp/azure"
      version = "~> 2"
    }
  }
}

variable "subscription" { type = string }
variable "group" { type = string }
variable "gallery" { type = string }
variable "package" { type = string }
variable "image_version" {
  type    = string
  default = "1.0.0"
}
variable "location" {
  type    = string
  default = "westeurope"
}

source "azure-arm" "instance" {
  # the account az is logged in with, or the identity of the machine Packer runs on: no secret in this file
  use_azure_cli_auth = true
  subscription_id    = var.subscription
  location           = var.location
  vm_size            = "Standard_D2s_v5"
  os_type            = "Linux"
  image_publisher    = "Debian"
  image_offer        = "debian-12"
  image_sku          = "12-gen2"
  shared_image_gallery_destination {
    subscription         = var.subscription
    resource_group       = var.group
    gallery_name         = var.gallery
    image_name           = "lamplighter"
    image_version        = var.image_version
    replication_regions  = [var.location]
    storage_account_type = "Standard_ZRS"
  }
}

build {
  sources = ["source.azure-arm.instance"]
  provisioner "shell" {
    inline = ["mkdir -p /tmp/lamplighter"]
  }
  provisioner "file" {
    sources     = [var.package, "provision.sh", "deprovision.sh"]
    destination = "/tmp/lamplighter/"
  }
  provisioner "shell" {
    execute_command = "sudo -E bash '{{ .Path }}'"
    inline = [
      "bash /tmp/lamplighter/provision.sh /tmp/lamplighter/*.deb",
      "bash /tmp/lamplighter/deprovision.sh",
    ]
  }
}
