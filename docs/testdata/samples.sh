# Applies the samples of config/samples that most pages need, and waits until the credential shop/s3-reader is Ready.
kubectl apply -f config/samples/namespace.yaml
kubectl create secret generic bootstrap -n rolecredential-system --from-env-file=bootstrap.env
kubectl apply -f config/samples/sts_v1alpha1_clusteridentity.yaml -f config/samples/sts_v1alpha1_rolecredential.yaml
kubectl wait --for=condition=Ready rolecredential/s3-reader -n shop --timeout=60s
