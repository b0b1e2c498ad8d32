"""What turns wishes into pods, volumes and addresses: the parts of a control plane that hubs and charts wait for."""
