from common import *
class Block(nn.Module):
    def __init__(s,H,norm=None,scale=1.,skip=False,place='pre',shrink=1.):
        super().__init__(); s.norm=norm(H) if norm else nn.Identity(); s.lin=nn.Linear(H,H); nn.init.kaiming_normal_(s.lin.weight,nonlinearity='relu'); nn.init.zeros_(s.lin.bias)
        s.alpha=nn.Parameter(torch.zeros(1)) if skip else None; s.scale=scale; s.place=place; s.shrink=shrink
    def forward(s,x):
        if s.place=='post': return s.norm(x+s.lin(x.relu()))
        b=s.lin(s.norm(x).relu()); b=s.alpha*b if s.alpha is not None else s.scale*b
        return (x+b)*s.shrink
class Res(nn.Module):
    def __init__(s,K,H=100,inp=40,out=10,last_relu=False,**kw):
        super().__init__(); s.stem=nn.Linear(inp,H); nn.init.kaiming_normal_(s.stem.weight,nonlinearity='relu'); nn.init.zeros_(s.stem.bias)
        s.blocks=nn.ModuleList([Block(H,**kw) for _ in range(K)]); s.head=nn.Linear(H,out); nn.init.kaiming_normal_(s.head.weight,nonlinearity='relu'); nn.init.zeros_(s.head.bias); s.lr=last_relu
    def forward(s,x):
        h=s.stem(x)
        for b in s.blocks: h=b(h)
        return s.head(h.relu() if s.lr else h)
data=load_data("mnist1d"); K=20
schemes={'none':{}, '1/sqrt2':dict(shrink=2**-.5),'BN':dict(norm=BatchNorm),'LN':dict(norm=LayerNorm),'GN10':dict(norm=lambda c:GroupNorm(10,c)),'SkipInit':dict(skip=True),'1/sqrtK':dict(scale=K**-.5),'BN post':dict(norm=BatchNorm,place='post'),'LN post':dict(norm=LayerNorm,place='post')}
k=np.arange(K+1)
print('=== 11a/11b, depth 20, width 100, batch 200, He normal')
for name,kw in schemes.items():
    M=[];N=[];V=[];G=[];P=[]
    for s in SEEDS:
        net=build(lambda:Res(K,**kw),s); idx=torch.randperm(4000)[:200]
        x,y=data.x[idx],data.y[idx]
        sig=signal_propagation(lambda:cross_entropy(net(x),y),net,[net.stem,*net.blocks])
        M.append(sig.second_moment.numpy());N.append(sig.across_neurons.numpy());V.append(sig.across_batch.numpy());G.append(sig.gradient.numpy());P.append(sig.parameter_gradient.numpy())
    M,N,V,G,P=map(np.array,(M,N,V,G,P))
    print(f'-- {name}: E h^2 at 0,1,5,10,20 {np.round(M.mean(0)[[0,1,5,10,20]],3)} across batch {np.round(V.mean(0)[[0,1,5,10,20]],3)}')
    for what,A in (('second moment',M),('across neurons',N),('across batch',V)):
        print('    log2 slope',what,ms([linfit(k,np.log2(a))[0] for a in A]))
    print('    linear slope second moment',ms([linfit(k,a)[0] for a in M]),'R2 of the mean %.5f'%linfit(k,M.mean(0))[1],'| across neurons',ms([linfit(k,a)[0] for a in N]),'| across batch',ms([linfit(k,a)[0] for a in V]))
    print('    output gradient: log2 slope of the squared norm',ms([linfit(k,np.log2(g**2))[0] for g in G]),'first/last',ms(G[:,0]/G[:,-1]))
    print('    stem parameter gradient',ms(P[:,0]),' block 1, 10, 20:',np.round(P.mean(0)[[1,10,20]],4))
    if name=='BN':
        share=(M[:,1:]-M[:,:-1])/M[:,1:]; print('    share of block k in the second moment, times (k + start):',np.round((share*(np.arange(1,K+1)+M[:,:1])).mean(0)[[0,1,4,9,19]],3))
lap('11ab')
print('=== 11a with batches of all 4000, many inits (is the slope a matter of seeds?)')
sl=[]
for s in range(100,120):
    net=build(lambda:Res(K),s); x,y=data.x[:200],data.y[:200]
    sig=signal_propagation(lambda:cross_entropy(net(x),y),net,[net.stem,*net.blocks]); sl.append(linfit(k,np.log2(sig.second_moment.numpy()))[0])
print('20 seeds slope',ms(sl)); lap('20 seeds')
if 'init' not in sys.argv:
    print('=== 11c depth 64, width 64, 200 steps of batch 100, SGD momentum .9')
    for name,kw in {'none':{},'BN':dict(norm=BatchNorm),'SkipInit':dict(skip=True),'1/sqrtK':dict(scale=64**-.5),'LN':dict(norm=LayerNorm)}.items():
        for lr in (1e-3,1e-2,5e-2):
            f=fit(lambda:Res(64,H=64,last_relu=True,**kw),data,learning_rate=lr,steps=150,batch_size=100,seeds=SEEDS,show_progress=False)
            print(f'   {name:9s} lr {lr:g} first loss {ms(f.loss[0])} | last 20 {ms(f.loss[-20:].mean(0))} | test error {ms(f.test_error)}')
        lap(name)
