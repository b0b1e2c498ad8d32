"""A thin client of the Kubernetes API: raw JSON verbs on any kind, patient with a server in trouble.

kubernetes-asyncio finds the cluster and proves who we are (kubeconfig files, exec plug-ins, tokens of pods). Its
model classes are not used: server-side apply sends manifests as they are, and an object that went through a
class of an older API would come back without the fields that class does not know.
"""
